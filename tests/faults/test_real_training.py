"""Rows 1, 3, 12 and 21 with real training on the CPU: what the scripted trainer only plays."""

import hashlib
import io
import json
import os
import pickle
import re
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest
import torch

from tests.arena import Arena, assert_nothing_runs, assert_orderly_end, finished
from tests.conftest import users_environment
from trainer.ultralytics_bridge import environment
from tuner.exceptions import StoppedByPolicy

environment.configure()

from trainer.ultralytics_bridge import checkpoints  # noqa: E402 - only after the environment is set

EPOCHS = 5
NOTHING_LEARNT = StoppedByPolicy.exit_code
"""How these searches end: in so few epochs of so few images the metric does not leave 0."""
SPACE = f"""
search: {{epochs: {EPOCHS}, rungs: [2], reduction_factor: 2, trials: 2, sampler: random, promote_epochs: {EPOCHS},
         reevaluation_runs: 0}}
parameters:
  optimizer: SGD
  batch: 8
  imgsz: 32
  mosaic: 0.0
  lr0: {{float: [0.0001, 0.1], log: true}}
baseline: {{lr0: 0.01}}
data: sample
model: mamba-yolo-n
"""


class RealArena(Arena):
    """Two trials on sixteen pictures, one after the other, by the trainer that users have."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, trials=2)
        for name in set(os.environ) - set(users_environment()):
            del self.environment[name]  # nothing but the trainer itself shall restrict what a checkpoint may hold
        (folder / "space.yaml").write_text(SPACE)

    def run_arguments(self, *, promote=False, more=()):
        arguments = ["--space", "space.yaml", "--study", "s", "--plain", "--data", "sample:16", "--parallel", "1"]
        return [*arguments, *([] if promote else ["--no-promote"]), *more]

    def trial(self, number=1):
        return Run(self.study_folder / "trials" / f"{number:04d}")

    def promoted(self):
        (folder,) = (self.study_folder / "promoted").iterdir()
        return Run(folder)

    def training_process(self):
        """The fork of the server that trains now."""
        servers = {process.pid for process in self.processes() if process.cmdline()[-2:] == ["trainer", "serve"]}
        (pid,) = [pid for pid in servers if psutil.Process(pid).ppid() in servers]
        return psutil.Process(pid)

    def freeze_after(self, epoch, run=None):
        """Let the driver train until that epoch of the run has its checkpoint. Returns the process that trains."""
        folder = run or (lambda: self.trial())
        self.wait_for(lambda: folder().good_epoch() >= epoch)
        process = self.training_process()
        process.suspend()
        return process

    def killed_after(self, epoch, **options):
        """The driver is killed while the next epoch trains; what it started is gone. Returns the status."""
        driver = self.start(**options)
        self.freeze_after(epoch)
        driver.kill()
        driver.communicate()
        self.wait_for(lambda: not self.processes(), timeout_s=30)
        return self.status()


class Run:
    """What one training run left in its folder."""

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "weights"
        self._log = folder / "trainer.log"

    @property
    def log(self):
        return self._log.read_text() if self._log.exists() else ""

    def good_epoch(self, name="last.pt"):
        """The epoch of a checkpoint that is as it was written; 0 for any other."""
        try:
            listed = json.loads((self.weights / "checkpoints.json").read_text())
            return listed.get(hashlib.sha256((self.weights / name).read_bytes()).hexdigest(), 0)
        except (FileNotFoundError, ValueError):
            return 0

    def replace_last(self, data, *, listed=False):
        """Another last.pt; listed, it passes for one that was written by the trainer."""
        listing, epoch = self.weights / "checkpoints.json", self.good_epoch()
        rewrite(self.weights / "last.pt", data)
        if listed:
            known = json.loads(listing.read_text())
            listing.write_text(json.dumps({**known, hashlib.sha256(data).hexdigest(): epoch}))

    def trained(self):
        """How often each epoch was trained."""
        return Counter(int(epoch) for epoch in re.findall(rf"trainer INFO epoch (\d+)/{EPOCHS}:", self.log))

    def redone(self):
        trained = self.trained()
        assert set(trained) == set(range(1, EPOCHS + 1)), trained
        return sum(times - 1 for times in trained.values())


def rewrite(path: Path, data: bytes) -> None:
    """Another file: the old one may have other names."""
    path.unlink()
    path.write_bytes(data)


@pytest.fixture
def arena(tmp_path):
    arena = RealArena(tmp_path)
    yield arena
    arena.kill_everything()


def go_on(arena, before=None, **options):
    """The same command, to its end: two trials, each by its number, and what had ended as it was."""
    code, output = arena.run(timeout_s=240, **options)
    assert_orderly_end(code, output, NOTHING_LEARNT)
    status = arena.status()
    assert [trial["number"] for trial in status["trials"]] == [0, 1]
    assert {trial["state"] for trial in status["trials"]} == {"COMPLETE"}
    assert all(set(trial["curve"]) == {"2", str(EPOCHS)} for trial in status["trials"])
    if before is not None:
        for number, trial in finished(before).items():
            assert status["trials"][number] == trial, "a finished trial has changed"
    assert (arena.study_folder / "journal.jsonl").read_text() == ""
    assert_nothing_runs(arena)
    return status


class Evil:
    """Runs a program where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def evil_pickle(marker: Path) -> bytes:
    return pickle.dumps(Evil(marker))


def evil_checkpoint(marker: Path) -> bytes:
    """As torch writes one, but for what is in it."""
    buffer = io.BytesIO()
    torch.save({"epoch": 2, "model": Evil(marker)}, buffer)
    return buffer.getvalue()


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_nan(data: bytes) -> bytes:
    """The checkpoint with one weight that is no number, as training gone wrong would have written it."""
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        Path(file.name).write_bytes(data)
        _, checkpoint = checkpoints.load(file.name)
    next(checkpoint["ema"].parameters()).data.view(-1)[0] = float("nan")
    content = io.BytesIO()
    torch.save(checkpoint, content)
    return content.getvalue()


@pytest.mark.slow
def test_a_real_run_killed_with_its_last_checkpoint_damaged_and_evil_files_laid_out_goes_on(arena, tmp_path):
    """The whole of it, in one run: kill -9 of the driver, row 12 and row 21."""
    before = arena.killed_after(3)
    assert before["trials"][0]["state"] == "COMPLETE"
    trial, marker = arena.trial(), tmp_path / "marker"
    trained, last, previous = trial.trained(), trial.good_epoch(), trial.good_epoch("previous.pt")
    assert (last, previous) == (last, last - 1)
    trial.replace_last(evil_checkpoint(marker), listed=True)
    for name in ("searcher-state.pkl", "tuner.pkl", "trainable.pkl", "experiment_state.json"):
        (arena.study_folder / name).write_bytes(evil_pickle(marker))
    go_on(arena, before)
    assert not marker.exists()
    assert f"going on from epoch {previous} (previous.pt); refused last.pt: The checkpoint" in trial.log
    assert trial.redone() == max(trained) - previous
    assert max(trained) - last <= 1


def test_an_evil_model_is_refused_in_one_line_and_runs_nothing(arena, tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "evil.pt").write_bytes(evil_checkpoint(marker))
    code, output = arena.run(more=["--model", "evil.pt"])
    assert_orderly_end(code, output, 2)
    assert not marker.exists()
    assert "evil.pt" in output.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_killed_driver_costs_one_epoch_at_most_and_ends_as_one_that_was_not(arena, tmp_path, epoch):
    before = arena.killed_after(epoch)
    status = go_on(arena, before)
    assert arena.trial(0).redone() == 0
    assert arena.trial().redone() <= 1
    (tmp_path / "undisturbed").mkdir()
    undisturbed = go_on(RealArena(tmp_path / "undisturbed"))
    for trial, other in zip(status["trials"], undisturbed["trials"], strict=True):
        for same in ("number", "state", "params", "curve", "value"):
            assert trial[same] == other[same], same


@pytest.mark.slow
def test_a_killed_training_process_costs_one_epoch_at_most(arena):
    driver = arena.start()
    arena.freeze_after(3).send_signal(signal.SIGKILL)
    output, _ = driver.communicate(timeout=240)
    assert_orderly_end(driver.returncode, output, NOTHING_LEARNT)
    status = go_on(arena)
    (setback,) = status["trials"][1]["setbacks"]
    assert setback["failure"] == "infrastructure"
    assert status["trials"][1]["attempts"] == 2
    assert arena.trial().redone() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("damage", [half, flipped, with_nan])
def test_a_damaged_checkpoint_costs_one_epoch_more(arena, damage):
    before = arena.killed_after(3)
    trial = arena.trial()
    last = trial.good_epoch()
    trial.replace_last(damage((trial.weights / "last.pt").read_bytes()), listed=damage is with_nan)
    go_on(arena, before)
    assert f"going on from epoch {last - 1} (previous.pt)" in trial.log
    assert trial.redone() <= 2


@pytest.mark.slow
def test_with_no_checkpoint_left_a_trial_starts_afresh_and_says_so(arena):
    before = arena.killed_after(3)
    trial = arena.trial()
    for name in ("last.pt", "previous.pt"):
        rewrite(trial.weights / name, flipped((trial.weights / name).read_bytes()))
    go_on(arena, before)
    assert "starting afresh; refused last.pt: it is not as it was written" in trial.log
    assert trial.trained()[1] == 2


def promote(arena):
    """The full run of a configuration that has learnt nothing in few epochs; it takes a length that is named."""
    return subprocess.Popen(
        arena.command("promote", "s", "--plain", "--epochs", str(EPOCHS)),
        cwd=arena.folder,
        env=arena.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_promoted_run_goes_on(arena):
    go_on(arena)
    driver = promote(arena)
    arena.wait_for(
        lambda: (arena.study_folder / "promoted").exists() and list((arena.study_folder / "promoted").iterdir())
    )
    arena.freeze_after(3, run=arena.promoted)
    driver.kill()
    driver.communicate()
    arena.wait_for(lambda: not arena.processes(), timeout_s=30)
    driver = promote(arena)
    output, _ = driver.communicate(timeout=240)
    assert_orderly_end(driver.returncode, output, 0)
    assert_nothing_runs(arena)
    status = arena.status()
    assert status["promotion"]["state"] == "COMPLETE"
    assert arena.promoted().redone() <= 1
    assert (arena.study_folder / "params.yaml").exists()
