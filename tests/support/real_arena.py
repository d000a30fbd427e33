"""Run a search with real training on the CPU that ends in a minute, and read what its runs left."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

import psutil

from tests.conftest import users_environment
from tests.support.arena import (
    Arena,
    ScriptOptions,
    StartOptions,
    Status,
    assert_nothing_runs,
    assert_orderly_end,
    finished,
)
from tuner.exceptions import FailurePolicyError

EPOCHS = 5
NOTHING_LEARNT = FailurePolicyError.exit_code
"""The exit code of these searches: in so few epochs of so few images, the metric stays at 0."""
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
    """Two trials on sixteen images, one after the other, by the trainer that users have."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, trials=2)
        for name in set(os.environ) - set(users_environment()):
            del self.environment[name]  # only the trainer itself must restrict what a checkpoint may hold
        (folder / "space.yaml").write_text(SPACE)

    def run_arguments(
        self, *, promote: bool = False, more: Sequence[str] = (), **scripted: Unpack[ScriptOptions]
    ) -> list[str]:
        assert not scripted, "no script is played here"
        arguments = ["--space", "space.yaml", "--study", "s", "--plain", "--data", "sample:16", "--parallel", "1"]
        return [*arguments, *([] if promote else ["--no-promote"]), *more]

    def trial(self, number: int = 1) -> "Run":
        return Run(self.study_folder / "trials" / f"{number:04d}")

    def final_run(self) -> "Run":
        (folder,) = (self.study_folder / "promoted").iterdir()
        return Run(folder)

    def training_process(self) -> psutil.Process:
        """Return the fork of the server that trains now."""
        servers = {process.pid for process in self.processes() if process.cmdline()[-2:] == ["trainer", "serve"]}
        (pid,) = [pid for pid in servers if psutil.Process(pid).ppid() in servers]
        return psutil.Process(pid)

    def freeze_after(self, epoch: int, run: "Callable[[], Run] | None" = None) -> psutil.Process:
        """Freeze training once that epoch of the run has its checkpoint, and return the process that trains."""
        folder = run or self.trial
        self.wait_for(lambda: folder().good_epoch() >= epoch)
        process = self.training_process()
        process.suspend()
        return process

    def killed_after(self, epoch: int, **options: Unpack[StartOptions]) -> Status:
        """Kill the driver while the next epoch trains, wait until its children are gone, and return the status."""
        driver = self.start(**options)
        self.freeze_after(epoch)
        driver.kill()
        driver.communicate()
        self.wait_for(lambda: not self.processes(), timeout_s=30)
        return self.status()


class Run:
    """Files that one training run left in its folder."""

    def __init__(self, folder: Path) -> None:
        self.weights = folder / "weights"
        self._log = folder / "trainer.log"

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def good_epoch(self, name: str = "last.pt") -> int:
        """Return the epoch of an undamaged checkpoint; 0 for any other."""
        try:
            listed: dict[str, int] = json.loads((self.weights / "checkpoints.json").read_text())
            return listed.get(hashlib.sha256((self.weights / name).read_bytes()).hexdigest(), 0)
        except (FileNotFoundError, ValueError):
            return 0

    def replace_last(self, data: bytes, *, listed: bool = False) -> None:
        """Replace last.pt; if listed, the new one passes for one that the trainer wrote."""
        listing, epoch = self.weights / "checkpoints.json", self.good_epoch()
        rewrite(self.weights / "last.pt", data)
        if listed:
            known = json.loads(listing.read_text())
            listing.write_text(json.dumps({**known, hashlib.sha256(data).hexdigest(): epoch}))

    def trained(self) -> Counter[int]:
        """Count how often each epoch was trained."""
        return Counter(int(epoch) for epoch in re.findall(rf"trainer INFO epoch (\d+)/{EPOCHS}:", self.log))

    def redone(self) -> int:
        trained = self.trained()
        assert set(trained) == set(range(1, EPOCHS + 1)), trained
        return sum(times - 1 for times in trained.values())


def rewrite(path: Path, data: bytes) -> None:
    """Replace a file by another one, because the old one may have other names."""
    path.unlink()
    path.write_bytes(data)


def run_to_its_end(arena: RealArena, before: Status | None = None, **options: Unpack[StartOptions]) -> Status:
    """Run the same command to its end, check both trials and what had ended before, and return the status."""
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
