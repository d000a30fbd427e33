"""Prepare a study as the tuner requests it."""

from tests.tuner.execution.test_single_request import STARTED, saying
from tuner.contract import COMPILE_STEP, EndRecord, Outcome, PreparedRecord, ProgressRecord, encode
from tuner.execution.prepare import prepared_by

PREPARED = encode(
    PreparedRecord(
        data="/d.yaml",
        data_sha256="0",
        num_classes=1,
        num_images={"train": 1, "val": 1},
        model="m",
        portable_model="m",
        num_parameters=1,
        checkpoint_bytes=1,
        versions={},
        notes=(),
        model_sha256="0",
        sources=(),
    )
)
COMPLETED = encode(EndRecord(outcome=Outcome.COMPLETED))


def test_compilation_is_reported_and_other_progress_is_not(tmp_path):
    other, compiles = (encode(ProgressRecord(step=step, done=0, total=1)) for step in ("images", COMPILE_STEP))
    reported = []

    def prepare(*lines):
        prepared = prepared_by(
            saying(STARTED, *lines, PREPARED, COMPLETED), "d", "m", tmp_path, on_compile=lambda: reported.append(1)
        )
        assert prepared.model == "m"
        return len(reported)

    assert prepare(other) == 0
    assert prepare(compiles) == 1
