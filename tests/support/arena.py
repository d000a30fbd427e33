"""Run one study in a folder, disturb it, and check its invariants afterwards."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import psutil
import ray
from sqlalchemy.engine import make_url

from tests.conftest import SCRIPTED_TRAINER
from tuner.contract import ParamValue
from tuner.report.status import status_of
from tuner.storage.urls import sqlite_url
from tuner.study import StoredStudy

SPACE = """
search: {epochs: 9, rungs: [3], strategy: asha-stopping, reduction_factor: 3,
         trials: %d, sampler: random, promote_epochs: 4,
         reevaluation_runs: 0}
parameters:
  optimizer: SGD
  batch: 16
  imgsz: 64
  lr0: {float: [0.0001, 0.9], log: true}
baseline: {lr0: 0.01}
data: sample
model: mamba-yolo-n
"""
TIMEOUT_S = 120
MARK = "TUNE_TEST_ARENA"
DRIVER = Path(__file__).parent / "faulty_driver.py"

Status = dict[str, Any]
"""State of a study as `status_of` returns it."""
Found = TypeVar("Found")


class Event(TypedDict, total=False):
    """Line of the scripted trainer's journal; empty if a kill cut it short."""

    event: str
    trial: int
    seed: int
    gpu: str
    host: str
    pid: int
    ppid: int
    full: bool
    params: Mapping[str, ParamValue]
    time: float
    """Seconds on the monotonic clock of the machine."""
    epoch: int
    """Of the events `epoch` and `fault`."""
    action: str
    """Of the event `fault`."""


class ScriptOptions(TypedDict, total=False):
    """Options of the scripted trainer, and the number of trainers at once."""

    epoch_seconds: float
    parallel: int | None
    prepare_seconds: float
    room: float
    busy: float
    gib: float


class RunOptions(ScriptOptions, total=False):
    """Options of `Arena.run_arguments`."""

    promote: bool
    more: Sequence[str]


class StartOptions(RunOptions, total=False):
    """Options of `Arena.start`."""

    die: str
    interpreter: Sequence[str]
    under: Sequence[str]
    leads: bool


class Arena:
    """A folder with a space, and the command line to search it with the scripted trainer.

    All of its processes carry a mark in their environment, so those that are left running can be found.
    """

    def __init__(self, folder: Path, *, trials: int = 8, storage: str | None = None, address: str | None = None):
        self.folder = folder
        self.home = folder / "studies"
        self.trials = trials
        self.address = address
        self.journal = folder / "played.jsonl"
        self.faults = folder / "faults"
        self.faults.mkdir()
        self.arrivals = folder / "arrivals.jsonl"
        self.storage = storage or sqlite_url(folder / "studies" / "s" / "study.db")
        self.mark = uuid.uuid4().hex
        self.environment = {**os.environ, MARK: self.mark, "ARRIVALS": str(self.arrivals)}
        if storage is not None:
            self.environment["TUNE_STORAGE"] = storage
        (folder / "space.yaml").write_text(SPACE % trials)

    @property
    def study_folder(self) -> Path:
        return self.home / "s"

    def fault(self, name: str) -> None:
        """Plant a fault for the trainer, as `3-2-kill`."""
        (self.faults / name).touch()

    def command(
        self, verb: str, *arguments: str, die: str = "", interpreter: Sequence[str] = (sys.executable, "-P")
    ) -> list[str]:
        """Return the command line; `die` names a place in its code at which the driver kills itself."""
        return [*interpreter, str(DRIVER), die, verb, *arguments]

    def run_arguments(
        self,
        *,
        epoch_seconds: float = 0.02,
        parallel: int | None = 2,
        promote: bool = False,
        prepare_seconds: float = 0.0,
        room: float = math.inf,
        busy: float = 0.0,
        gib: float = math.inf,
        more: Sequence[str] = (),
    ) -> list[str]:
        trainer = (
            f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds {epoch_seconds} "
            f"--journal {self.journal} --faults {self.faults} --prepare-seconds {prepare_seconds} --room {room} "
            f"--busy {busy} --gib {gib}"
        )
        arguments = ["--space", "space.yaml", "--study", "s", "--plain", "--trainer", trainer]
        arguments += ["--parallel", str(parallel)] if parallel else []
        arguments += ["--address", self.address] if self.address else []
        return [*arguments, *([] if promote else ["--no-promote"]), *more]

    def has_weights(self, number: int) -> bool:
        """Return whether the weights of a trial are still there."""
        return (self.study_folder / "trials" / f"{number:04d}" / "weights").exists()

    def start(
        self,
        *,
        die: str = "",
        interpreter: Sequence[str] = (sys.executable, "-P"),
        under: Sequence[str] = (),
        leads: bool = False,
        **options: Unpack[RunOptions],
    ) -> subprocess.Popen[str]:
        """Start the driver as its own process; its output is one text, including errors.

        Args:
            under: a command that runs it, such as `timeout 60`.
            leads: whether it leads its own process group, which can be signalled as a whole.
        """
        command = self.command("run", *self.run_arguments(**options), die=die, interpreter=interpreter)
        return subprocess.Popen(
            [*under, *command],
            process_group=0 if leads else None,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, timeout_s: float = TIMEOUT_S, **options: Unpack[StartOptions]) -> tuple[int, str]:
        """Run the driver to its end, and return exit code and output."""
        process = self.start(**options)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"the run did not end within {timeout_s} s:\n{output}") from None
        return process.returncode, output

    def status(self) -> Status:
        """Return what `tune status --json` prints, without the seconds that it takes to start."""
        study = StoredStudy.open(self.storage, "s", self.study_folder)
        try:
            status: Status = json.loads(json.dumps(status_of(study)))
            return status
        finally:
            study.close()

    def events(self, kind: str) -> list[Event]:
        """Return the events of one kind that the scripted trainers recorded."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines()
        return [event for event in map(_parsed, lines) if event.get("event") == kind]

    def epochs_played(self) -> Counter[tuple[int, int]]:
        """Count how often each epoch of each trial of the search was trained."""
        return Counter((event["trial"], event["epoch"]) for event in self.events("epoch") if not event["full"])

    def wait_for(self, condition: Callable[[], Found], timeout_s: float = TIMEOUT_S) -> Found:
        """Wait until the condition holds, and return its value."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it did not come to that within {timeout_s} s"
            time.sleep(0.02)
        return found

    def processes(self) -> list[psutil.Process]:
        """Return the processes of this arena: those that it started, and the trainers that a cluster started."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                ours = process.environ().get(MARK) == self.mark or str(self.journal) in process.cmdline()
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def actors(self) -> list[int]:
        """Return the pids of Ray's actors that hold trainers."""
        parents = {event["ppid"] for event in self.events("start")}
        return [pid for pid in parents if psutil.pid_exists(pid) and pid != 1]

    def kill_everything(self) -> None:
        """Kill everything that is left running."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)


def _parsed(line: str) -> Event:
    try:
        event: Event = json.loads(line)
    except ValueError:
        return {}  # cut short by a kill
    return event


def finished(status: Status) -> dict[int, dict[str, Any]]:
    """Return the trials that have ended, by number."""
    return {t["number"]: t for t in status["trials"] if t["state"] in ("COMPLETE", "PRUNED", "FAIL")}


def assert_orderly_end(code: int, output: str, expected: int) -> None:
    """Check that the exit code is right, and that the output names the cause without a traceback."""
    assert code == expected, output
    assert "Traceback" not in output, output
    if expected:
        assert output.strip().splitlines()[-1].strip(), output


def assert_nothing_lost(
    arena: Arena,
    *,
    before: Status | None = None,
    most_redone: int = 1,
    states: Collection[str] = ("COMPLETE", "PRUNED"),
) -> Status:
    """Check the invariants of a study that met a fault and then ran to its end, and return its status.

    Args:
        before: the status after the fault, before the study resumed. None if it continued by itself.
        most_redone: epochs trained twice, over the whole study.
        states: those that its trials may end in.
    """
    arena.wait_for(lambda: arena.status()["counts"]["RUNNING"] == 0, timeout_s=60)
    status = arena.status()
    numbers = [trial["number"] for trial in status["trials"]]
    assert numbers == list(range(arena.trials)), "not exactly the planned trials"
    assert {trial["state"] for trial in status["trials"]} <= set(states), _states(status)
    if before is not None:
        _assert_kept(before, status)
    played = arena.epochs_played()
    redone = sum(times - 1 for times in played.values())
    assert redone <= most_redone, f"{redone} epochs were trained twice: {[e for e, n in played.items() if n > 1]}"
    for trial in status["trials"]:
        if trial["state"] == "COMPLETE":
            assert set(trial["curve"]) == {"3", "9"}, trial
        elif trial["reason"].startswith("early stop"):
            assert set(trial["curve"]) == {"3"}, trial
    assert (arena.study_folder / "journal.jsonl").read_text() == "", "changes that never reached the database"
    assert_nothing_runs(arena)
    assert_no_secret(arena)
    assert_weights_kept_and_removed(arena, status)
    assert_decisions_as_undisturbed(arena, status)
    note_values(_longest_pause_s(arena), redone)
    return status


def note_values(longest_pause_s: float, redone: int) -> None:
    """Append the cost of the fault to the file that FAULT_VALUES names, for the table in docs/reliability.md."""
    if "FAULT_VALUES" not in os.environ:
        return
    values = {
        "test": os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0],
        "longest_pause_s": round(longest_pause_s, 2),
        "epochs_redone": redone,
    }
    with Path(os.environ["FAULT_VALUES"]).open("a") as file:
        file.write(json.dumps(values) + "\n")


def _longest_pause_s(arena: Arena) -> float:
    """Return the longest time between two epochs of a trial."""
    ended: dict[tuple[int, bool], list[float]] = {}
    for event in arena.events("epoch"):
        ended.setdefault((event["trial"], event["full"]), []).append(event["time"])
    return max((later - earlier for times in ended.values() for earlier, later in pairwise(times)), default=0.0)


def _assert_kept(before: Status, status: Status) -> None:
    """Check that finished trials are unchanged, and that no value has changed: the rungs are the same."""
    after = {trial["number"]: trial for trial in status["trials"]}
    for number, trial in finished(before).items():
        assert after[number] == trial, "a finished trial has changed"
    for trial in before["trials"]:
        assert after[trial["number"]]["params"] == trial["params"]
        for epoch, value in trial["curve"].items():
            assert after[trial["number"]]["curve"][epoch] == value, "a rung has changed"


def _states(status: Status) -> dict[int, tuple[str, str]]:
    return {trial["number"]: (trial["state"], trial["reason"]) for trial in status["trials"]}


def assert_nothing_runs(arena: Arena) -> None:
    """Check that no process of the study is left, neither trainer nor Ray's."""
    deadline = time.monotonic() + 30
    while arena.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [(p.pid, p.name()) for p in arena.processes()]
    assert not left, f"still running: {left}"
    if ray.is_initialized():
        arena.wait_for(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], timeout_s=60)


def assert_no_secret(arena: Arena) -> None:
    """Check that the database's password is in no file of the study or of Ray."""
    from tests.support.leaks import leaks

    password = make_url(arena.storage).password
    assert password is None or leaks(password, [arena.folder], []) == []


def assert_weights_kept_and_removed(arena: Arena, status: Status) -> None:
    """Check that complete trials have their weights, and that the others have none."""
    for trial in status["trials"]:
        assert arena.has_weights(trial["number"]) == (trial["state"] == "COMPLETE"), (trial["number"], trial["state"])


def assert_decisions_as_undisturbed(arena: Arena, status: Status) -> None:
    """Check that an undisturbed search with the same values in the same order makes the same decisions."""
    from tests.support.undisturbed import decisions

    arrived: dict[tuple[int, int], float] = {}
    for line in arena.arrivals.read_text().splitlines():
        trial, epoch, value = json.loads(line)
        arrived.pop((trial, epoch), None)  # a value that was lost before it was safe arrived again
        arrived[trial, epoch] = value
    heard = {key: value for key, value in arrived.items() if _is_recorded(status, key)}
    expected = decisions(heard, arena.trials)
    for trial in status["trials"]:
        if trial["reason"].startswith("early stop"):
            assert expected[trial["number"]] == "PRUNED", trial
        elif trial["state"] == "COMPLETE":
            assert expected[trial["number"]] == "COMPLETE", trial


def _is_recorded(status: Status, key: tuple[int, int]) -> bool:
    trial, epoch = key
    return str(epoch) in status["trials"][trial]["curve"]
