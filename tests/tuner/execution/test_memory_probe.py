"""Measure memory in a few steps: the request to the trainer, and the meaning of its answer."""

from pathlib import Path

import pytest

from tuner.contract import EndRecord, EpochRecord, Outcome, Stage, StartedRecord, TrainRequest
from tuner.exceptions import DataError, MachineError
from tuner.execution.memory_probe import peak_of

REQUEST = TrainRequest(
    study="s",
    trial=3,
    params={"lr0": 0.01, "batch": 16, "imgsz": 640, "patience": 50},
    model="m.yaml",
    data="/study/data.yaml",
    epochs=300,
    stop_epoch=54,
    validation_epochs=(9, 54),
    seed=0,
    devices=(0, 1),
    threads=2,
    directory="/study/trials/0003",
    full=True,
    backup="s3://bucket",
    stages=(Stage(last_epoch=300, imgsz=640, batch=16),),
)
STARTED = StartedRecord(pid=1, device="A GPU")
EPOCH = EpochRecord(
    epoch=1,
    losses={},
    metrics=None,
    seconds=1.0,
    memory_gib=7.5,
    learning_rate=0.01,
    batch=32,
    checkpoint="",
)


def measured(outcome, *records, message=""):
    """Return the peak, and the request with which it was measured."""
    asked = []

    def train(request, on_record):
        assert Path(request.directory).parent.is_dir()
        asked.append(request)
        for record in records:
            on_record(record)
        return EndRecord(outcome=outcome, message=message)

    return peak_of(train, REQUEST, batch=32, imgsz=96), asked[0]


def test_one_epoch_of_two_batches_is_trained_on_one_device_without_what_a_full_run_does():
    peak, asked = measured(Outcome.COMPLETED, STARTED, EPOCH)
    assert (peak.memory_gib, peak.device) == (7.5, "A GPU")
    assert (asked.max_images, asked.params["batch"], asked.params["imgsz"], asked.params["lr0"]) == (64, 32, 96, 0.01)
    assert (asked.epochs, asked.stop_epoch, asked.validation_epochs, asked.devices) == (1, 1, (1,), (0,))
    assert (asked.full, asked.backup, asked.stages) == (False, "", ())
    assert (asked.data, asked.model) == (REQUEST.data, REQUEST.model)
    assert asked.params["close_mosaic"] == 0, "a run of one epoch would train without a mosaic"


def test_the_measurement_leaves_the_run_alone_and_nothing_behind():
    _, asked = measured(Outcome.COMPLETED, STARTED, EPOCH)
    assert asked.directory != REQUEST.directory
    assert not Path(asked.directory).parent.exists()


def test_there_is_no_peak_if_memory_runs_out():
    peak, _ = measured(Outcome.OUT_OF_MEMORY, STARTED)
    assert peak.memory_gib is None


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(Outcome.BAD_DATA, DataError), (Outcome.ERROR, MachineError), (Outcome.COMPLETED, MachineError)],
)
def test_any_other_end_is_reported_with_its_reason(outcome, error):
    with pytest.raises(error, match="no such file"):
        measured(outcome, STARTED, message="no such file")
