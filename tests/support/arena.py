"""Where faults happen: one study in a folder, the command that runs it, and what must be true of it afterwards."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil
import ray
from sqlalchemy.engine import make_url

from tests.conftest import SCRIPTED_TRAINER
from tuner.report.status import status_of
from tuner.storage.database import sqlite_url
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


class Arena:
    """A folder with a space, and the command line to search it with the scripted trainer.

    Everything that runs for it carries a mark in its environment, so what is left running can be found.
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

    def command(self, verb, *arguments, die="", interpreter=(sys.executable, "-P")):
        """The command line; `die` names a place in the driver's code at which it kills itself (see driver.py)."""
        return [*interpreter, str(DRIVER), die, verb, *arguments]

    def run_arguments(
        self, *, epoch_seconds=0.02, parallel=2, promote=False, prepare_seconds=0.0, room=math.inf, more=()
    ):
        trainer = (
            f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds {epoch_seconds} "
            f"--journal {self.journal} --faults {self.faults} --prepare-seconds {prepare_seconds} --room {room}"
        )
        arguments = ["--space", "space.yaml", "--study", "s", "--plain", "--trainer", trainer]
        arguments += ["--parallel", str(parallel)] if parallel else []
        arguments += ["--address", self.address] if self.address else []
        return [*arguments, *([] if promote else ["--no-promote"]), *more]

    def start(self, *, die="", interpreter=(sys.executable, "-P"), under=(), leads=False, **options):
        """The driver as a process of its own; its output is one text, errors included.

        Args:
            under: a command that runs it, as `timeout 60`.
            leads: whether it leads a process group of its own, which can be signalled as one.
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

    def run(self, timeout_s=TIMEOUT_S, **options):
        """The driver to its end: exit code and output."""
        process = self.start(**options)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            raise AssertionError(f"the run did not end within {timeout_s} s:\n{output}") from None
        return process.returncode, output

    def status(self):
        """What `tune status --json` says, without the seconds that starting it takes."""
        study = StoredStudy.open(self.storage, "s", self.study_folder)
        try:
            return json.loads(json.dumps(status_of(study)))
        finally:
            study.close()

    def events(self, kind):
        """What the scripted trainers noted."""
        if not self.journal.exists():
            return []
        lines = self.journal.read_text().splitlines()
        return [event for event in map(_parsed, lines) if event.get("event") == kind]

    def epochs_played(self):
        """How often each epoch of each trial of the search was trained."""
        return Counter((event["trial"], event["epoch"]) for event in self.events("epoch") if not event["full"])

    def wait_for(self, condition, timeout_s=TIMEOUT_S):
        """Wait until the condition holds; returns what it gave."""
        deadline = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline, f"it did not come to that within {timeout_s} s"
            time.sleep(0.02)
        return found

    def processes(self):
        """What runs for this arena: what it started here, and the trainers that a cluster started for it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                ours = process.environ().get(MARK) == self.mark or str(self.journal) in process.cmdline()
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def actors(self):
        """The processes of Ray's actors that hold trainers."""
        parents = {event["ppid"] for event in self.events("start")}
        return [pid for pid in parents if psutil.pid_exists(pid) and pid != 1]

    def kill_everything(self):
        """Leave nothing running."""
        for process in self.processes():
            with suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)


def _parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return {}  # cut short by a kill


def finished(status):
    """The trials that have ended, by number."""
    return {t["number"]: t for t in status["trials"] if t["state"] in ("COMPLETE", "PRUNED", "FAIL")}


def assert_orderly_end(code, output, expected):
    """The exit code is right, and the cause is told without a traceback."""
    assert code == expected, output
    assert "Traceback" not in output, output
    if expected:
        assert output.strip().splitlines()[-1].strip(), output


def assert_nothing_lost(arena, *, before=None, most_redone=1, states=("COMPLETE", "PRUNED")):
    """The invariants of a study that has been through a fault and was then run to its end. Returns its status.

    Args:
        before: the status after the fault, before the study was gone on with; none where it went on by itself.
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
    _note_values(arena, redone)
    return status


def _note_values(arena, redone):
    """For the table in docs/reliability.md: what the fault cost, appended to the file that FAULT_VALUES names."""
    if "FAULT_VALUES" not in os.environ:
        return
    ended = {}
    for event in arena.events("epoch"):
        ended.setdefault((event["trial"], event["full"]), []).append(event["time"])
    pauses = [later - earlier for times in ended.values() for earlier, later in pairwise(times)]
    values = {
        "test": os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0],
        "longest_pause_s": round(max(pauses, default=0.0), 2),
        "epochs_redone": redone,
    }
    with Path(os.environ["FAULT_VALUES"]).open("a") as file:
        file.write(json.dumps(values) + "\n")


def _assert_kept(before, status):
    """What had ended is as it was, and no value has changed: the rungs are the same."""
    after = {trial["number"]: trial for trial in status["trials"]}
    for number, trial in finished(before).items():
        assert after[number] == trial, "a finished trial has changed"
    for trial in before["trials"]:
        assert after[trial["number"]]["params"] == trial["params"]
        for epoch, value in trial["curve"].items():
            assert after[trial["number"]]["curve"][epoch] == value, "a rung has changed"


def _states(status):
    return {trial["number"]: (trial["state"], trial["reason"]) for trial in status["trials"]}


def assert_nothing_runs(arena):
    """No process of the study is left, neither trainer nor Ray's."""
    deadline = time.monotonic() + 30
    while arena.processes() and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [(p.pid, p.name()) for p in arena.processes()]
    assert not left, f"still running: {left}"
    if ray.is_initialized():
        arena.wait_for(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], timeout_s=60)


def assert_no_secret(arena):
    """The database's password is in no file of the study or of Ray."""
    from tests.support.leaks import leaks

    password = make_url(arena.storage).password
    assert password is None or leaks(password, [arena.folder], []) == []


def assert_weights_kept_and_removed(arena, status):
    """Weights of complete trials are there, those of the others are not."""
    for trial in status["trials"]:
        weights = arena.study_folder / "trials" / f"{trial['number']:04d}" / "weights"
        assert weights.exists() == (trial["state"] == "COMPLETE"), (trial["number"], trial["state"])


def assert_decisions_as_undisturbed(arena, status):
    """Hearing the same values in the same order, a search that nothing happens to decides alike."""
    from tests.support.undisturbed import decisions

    arrived = {}
    for line in arena.arrivals.read_text().splitlines():
        trial, epoch, value = json.loads(line)
        arrived.pop((trial, epoch), None)  # one that died before it was safe came again
        arrived[trial, epoch] = value
    heard = {key: value for key, value in arrived.items() if _is_recorded(status, key)}
    expected = decisions(heard, arena.trials)
    for trial in status["trials"]:
        if trial["reason"].startswith("early stop"):
            assert expected[trial["number"]] == "PRUNED", trial
        elif trial["state"] == "COMPLETE":
            assert expected[trial["number"]] == "COMPLETE", trial


def _is_recorded(status, key):
    trial, epoch = key
    return str(epoch) in status["trials"][trial]["curve"]
