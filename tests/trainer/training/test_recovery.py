"""A killed trial resumes from a good checkpoint if others were damaged meanwhile; all training is real."""

import io
import json
import math
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import epochs_of, hear_all
from trainer.run_state.checkpoints import BEST, LAST, LISTING, PREVIOUS, Checkpoints
from trainer.system import atomic_files
from trainer.ultralytics_bridge import environment
from tuner.contract import EpochRecord, Outcome

environment.configure()

from ultralytics.engine.validator import BaseValidator  # noqa: E402 - only after the environment is set

from trainer.training import trial  # noqa: E402
from trainer.ultralytics_bridge import checkpoints  # noqa: E402
from trainer.ultralytics_bridge.training import METRIC_KEYS, SearchTrainer  # noqa: E402


class Killed:
    """A trial that was killed after two epochs or a little later, and copies of its files."""

    def __init__(self, request, told) -> None:
        self._request = request
        self.told = told
        self.epoch = max(json.loads((self.weights(Path(request.directory)) / LISTING).read_text()).values())

    @staticmethod
    def weights(directory: Path) -> Path:
        return directory / "weights"

    def copied_to(self, directory: Path):
        """Copy the trial, and return a request that trains one epoch if only the previous epoch is left."""
        shutil.copytree(self._request.directory, directory)
        return replace(self._request, directory=str(directory), stop_epoch=self.epoch)

    def told_from(self, directory: Path) -> list[EpochRecord]:
        """Return the records of its epochs, with the path of the checkpoint in a copy."""
        return [replace(record, checkpoint=str(self.weights(directory) / LAST)) for record in self.told]


@pytest.fixture(scope="module")
def killed(trainer, make_request, tmp_path_factory):
    request = make_request(tmp_path_factory.mktemp("killed") / "run", epochs=40, validation_epochs=(1,))
    trainer.send(request)
    heard = []
    while len(epochs_of(heard)) < 2:
        heard += trainer.receive(timeout_s=60)
    os.kill(heard[0].pid, signal.SIGKILL)
    heard += hear_all(trainer)
    assert {LAST, PREVIOUS, BEST, LISTING} <= {path.name for path in Killed.weights(Path(request.directory)).iterdir()}
    return Killed(request, epochs_of(heard))


def rewritten(path: Path, data: bytes) -> None:
    """Replace the file instead of its content, because it may have other names."""
    path.unlink()
    path.write_bytes(data)


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def changed(weights: Path, name: str, change) -> None:
    """Change the content of a checkpoint, and list the digest of the changed file."""
    path = weights / name
    _, checkpoint = checkpoints.load(path)
    epoch = checkpoint["epoch"] + 1
    change(checkpoint)
    content = io.BytesIO()
    torch.save(checkpoint, content)
    rewritten(path, content.getvalue())
    listing = json.loads((weights / LISTING).read_text())
    (weights / LISTING).write_text(json.dumps(listing | {atomic_files.sha256(path): epoch}))


def make_nan(tensor: torch.Tensor) -> None:
    tensor.data.view(-1)[0] = float("nan")


DAMAGES = {
    "emptied": lambda weights, name: rewritten(weights / name, b""),
    "half of it": lambda weights, name: rewritten(
        weights / name, (weights / name).read_bytes()[: (weights / name).stat().st_size // 2]
    ),
    "one byte short": lambda weights, name: rewritten(weights / name, (weights / name).read_bytes()[:-1]),
    "one bit flipped": lambda weights, name: rewritten(weights / name, flipped((weights / name).read_bytes())),
    "NaN in the weights": lambda weights, name: changed(
        weights, name, lambda checkpoint: make_nan(next(checkpoint["ema"].parameters()))
    ),
    "NaN in the optimizer": lambda weights, name: changed(
        weights, name, lambda checkpoint: make_nan(checkpoint["optimizer"]["state"][0]["exp_avg"])
    ),
    "no optimizer": lambda weights, name: changed(weights, name, lambda checkpoint: checkpoint.pop("optimizer")),
    "another epoch": lambda weights, name: changed(weights, name, lambda checkpoint: checkpoint.update(epoch=7)),
    "deleted": lambda weights, name: (weights / name).unlink(),
}
REASONS = {
    "NaN in the weights": "it has weights that are NaN or infinite",
    "NaN in the optimizer": "it has weights that are NaN or infinite",
    "no optimizer": "it has no optimizer state and training weights to resume from",
    "another epoch": "it must be from epoch",
    "deleted": "it is missing",
}


IN_EVERY_RUN = {"one bit flipped", "NaN in the weights", "deleted"}
"""Each case trains; `make test-slow` runs all."""


@pytest.mark.parametrize(
    "damage", [pytest.param(d, marks=() if d in IN_EVERY_RUN else pytest.mark.slow) for d in DAMAGES]
)
def test_with_a_damaged_last_checkpoint_one_epoch_is_trained_again(trainer, killed, tmp_path, damage):
    request = killed.copied_to(tmp_path / "run")
    weights = tmp_path / "run" / "weights"
    DAMAGES[damage](weights, LAST)
    trainer.send(request)
    records = hear_all(trainer)
    assert records[-1].outcome == Outcome.COMPLETED
    told = epochs_of(records)
    assert [record.epoch for record in told] == list(range(1, killed.epoch + 1))
    before = killed.epoch - 1
    assert told[:before] == killed.told_from(tmp_path / "run")[:before], (
        "told again, not trained again: the very same seconds"
    )
    log = (tmp_path / "run" / "trainer.log").read_text()
    reason = REASONS.get(damage, "it does not match its checksum")
    assert f"resuming from epoch {before} (previous.pt); refused last.pt: {reason}" in log
    assert {path.name for path in weights.iterdir()} == {LAST, BEST, LISTING}, "of a complete trial, best and last stay"


def test_without_damage_no_epoch_is_trained_again(trainer, killed, tmp_path):
    request = killed.copied_to(tmp_path / "run")
    trainer.send(request)
    told = epochs_of(hear_all(trainer))
    assert [record.epoch for record in told] == list(range(1, killed.epoch + 1))
    assert told[: len(killed.told)] == killed.told_from(tmp_path / "run")
    assert f"resuming from epoch {killed.epoch} (last.pt)\n" in (tmp_path / "run" / "trainer.log").read_text()


def test_with_both_checkpoints_damaged_the_trial_starts_again(trainer, killed, tmp_path):
    request = killed.copied_to(tmp_path / "run")
    weights = tmp_path / "run" / "weights"
    for name in (LAST, PREVIOUS):
        DAMAGES["half of it"](weights, name)
    trainer.send(request)
    records = hear_all(trainer)
    assert records[-1].outcome == Outcome.COMPLETED
    told = epochs_of(records)
    assert [record.epoch for record in told] == list(range(1, killed.epoch + 1))
    assert told[0].seconds != killed.told[0].seconds, "trained again"
    log = (tmp_path / "run" / "trainer.log").read_text()
    assert "starting from scratch; refused last.pt: it does not match its checksum" in log
    assert "; previous.pt: it does not match its checksum" in log
    assert Checkpoints(weights).recover(checkpoints.check_resumable) == killed.epoch


def test_overflowed_gradients_are_not_a_reason_to_refuse_a_checkpoint(killed, tmp_path):
    """In half precision, the scaler skips their step."""
    killed.copied_to(tmp_path / "run")
    weights = tmp_path / "run" / "weights"
    infinite = {"pending": {"x": torch.tensor([math.inf])}}
    changed(weights, LAST, lambda checkpoint: checkpoint["exact"].update(infinite))
    checkpoints.check_resumable(weights / LAST, killed.epoch)


def test_a_damaged_best_checkpoint_is_made_again_however_good_it_was(trainer, killed, tmp_path):
    request = replace(killed.copied_to(tmp_path / "run"), stop_epoch=killed.epoch + 1)
    weights = tmp_path / "run" / "weights"
    rewritten(weights / BEST, b"")
    changed(weights, LAST, lambda checkpoint: checkpoint.update(best_fitness=0.99))
    trainer.send(request)
    assert hear_all(trainer)[-1].outcome == Outcome.COMPLETED
    assert checkpoints.load(weights / BEST)[1]["epoch"] + 1 == killed.epoch + 1


def test_files_of_another_configuration_are_removed_before_anything_is_trained(killed, tmp_path, monkeypatch):
    request = killed.copied_to(tmp_path / "run")
    monkeypatch.setattr(SearchTrainer, "train", lambda self: None)
    monkeypatch.setattr(SearchTrainer, "metrics", dict.fromkeys(METRIC_KEYS.values(), 0.0), raising=False)
    trial.run(replace(request, params={**request.params, "lr0": 0.001}), lambda record: None)
    assert list((tmp_path / "run" / "weights").iterdir()) == []


def test_a_checkpoint_takes_no_more_space_than_was_reported_to_the_study(killed, prepared, tmp_path):
    killed.copied_to(tmp_path / "run")
    size = (tmp_path / "run" / "weights" / LAST).stat().st_size
    assert prepared.checkpoint_bytes / 2 < size <= prepared.checkpoint_bytes


def test_a_full_run_cut_off_in_its_last_evaluation_trains_nothing_again(killed, make_request, tmp_path, monkeypatch):
    """Only after the evaluation, its checkpoints lose the state that a resumed run needs."""
    killed.copied_to(tmp_path / "other")
    checkpoints.load(tmp_path / "other" / "weights" / LAST)  # as in a resumed run, which lets ultralytics strip them
    request = make_request(tmp_path / "run", epochs=1, validation_epochs=(1,), full=True)
    evaluate = BaseValidator.__call__

    def killed_in_the_last_evaluation(self, trainer=None, model=None):
        if model is not None:
            raise KeyboardInterrupt
        return evaluate(self, trainer, model)

    monkeypatch.setattr(BaseValidator, "__call__", killed_in_the_last_evaluation)
    with pytest.raises(KeyboardInterrupt):
        trial.run(request, lambda record: None)
    monkeypatch.setattr(SearchTrainer, "train", lambda self: pytest.fail("trained again"))
    told = []
    end = trial.run(request, told.append)
    assert end.outcome == Outcome.COMPLETED
    (epoch,) = epochs_of(told)
    assert (epoch.epoch, epoch.metrics) == (1, end.metrics)
    assert Path(end.checkpoint).is_file()
