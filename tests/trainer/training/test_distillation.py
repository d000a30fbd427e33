"""A model that learns from a larger one."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import epochs_of
from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.training import trial  # noqa: E402 - only after the environment is set
from trainer.ultralytics_bridge import checkpoints  # noqa: E402
from tuner.contract import Outcome  # noqa: E402


@pytest.mark.slow
def test_a_student_that_pauses_resumes_bit_for_bit_and_ends_without_its_teacher(make_request, tmp_path, one_thread):
    taught = make_request(tmp_path / "teacher", epochs=1, validation_epochs=(1,), full=True)
    teacher = trial.run(taught, lambda record: None).checkpoint
    params = {"batch": 3, "nbs": 12, "mosaic": 1.0, "distill_model": teacher}
    whole = make_request(tmp_path / "whole", epochs=3, validation_epochs=(3,), **params)
    undisturbed, heard = [], []
    assert trial.run(whole, undisturbed.append).outcome == Outcome.COMPLETED
    parts = replace(whole, directory=str(tmp_path / "parts"))
    for stop_epoch in (1, 3):
        heard.clear()
        assert trial.run(replace(parts, stop_epoch=stop_epoch), heard.append).outcome == Outcome.COMPLETED
    losses = [record.losses for record in epochs_of(heard)]
    assert losses == [record.losses for record in epochs_of(undisturbed)]
    assert all(loss["dis"] > 0 for loss in losses)
    _, checkpoint = checkpoints.load(tmp_path / "parts/weights/last.pt")
    assert not any(name.startswith("teacher") for name in checkpoint["exact"]["model"])
    finished = replace(whole, directory=str(tmp_path / "full"), epochs=1, stop_epoch=1, full=True)
    model, _ = checkpoints.load(Path(trial.run(finished, lambda record: None).checkpoint))
    assert type(model).__name__ == "DetectionModel"
