"""Run a short search on the sample data set, kill a training process, and check that its trial continues."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tuner.contract import Table
from tuner.contract.run_folder import RECORDS
from tuner.exceptions import FailurePolicyError
from tuner.system.scratch import scratch_folder
from tuner.workflows.device_check.results import CheckResult, Status, last_lines

_STUDY = "device-check"
_SEARCH_HOURS = 5 / 60
_OPTIONS = (
    *("--space", "quick", "--study", _STUDY, "--seed", "0", "--plain", "--no-promote", "--reevaluation-runs", "0"),
    *("--on-end", "", "--log", "none"),
)
_ON_GPUS = (
    *("--data", "sample", "--model", "mamba-yolo-t", "--imgsz", "320", "--trials", "64", "--epochs", "6"),
    *("--max-hours", f"{_SEARCH_HOURS:.4f}"),
)
_ON_CPU = (
    *("--data", "sample:48", "--imgsz", "64", "--trials", "3", "--epochs", "3", "--rungs", "2"),
    *("--set", "optimizer=SGD", "--set", "lr0=0.002", "--gpus", "0", "--parallel", "1"),
)
_GRACE_S = 20.0
"""Time for the search to stop cleanly when the time of the check is over, in seconds."""

_POLL_S = 0.2


def check(command: Sequence[str], device: str, *, is_small: bool, timeout_s: float) -> CheckResult:
    """Search with `tune run` as a user would, in a folder of its own."""
    with scratch_folder() as scratch:
        home = scratch / "studies"
        (scratch / "output").mkdir()
        options = [*_OPTIONS, *(_ON_CPU if is_small else _ON_GPUS), "--home", str(home)]
        log = scratch / "output" / "search.log"
        code, was_killed = _searched([*options, "--trainer", shlex.join(command)], home, log, command, timeout_s)
        tail = last_lines(log.parent)
        has_run = code == 0 or (is_small and code == FailurePolicyError.exit_code)  # a few epochs may teach it nothing
        status = _status(home) if has_run else None
    if status is None:
        told = f"it did not end within {timeout_s:.0f} s" if code is None else f"it ended with exit code {code}"
        return _result(device, Status.UNFINISHED, problems=(f"the search on {device}: {told}",), log=tail)
    row, problems = _judged(status, was_killed=was_killed)
    return _result(
        device,
        Status.PROBLEM if problems else Status.PASSED,
        tables=(Table(title="A search, one of whose training processes was killed", rows=(row,)),),
        problems=tuple(problems),
        log=tail if problems else "",
    )


def _result(device: str, status: Status, **fields: Any) -> CheckResult:
    return CheckResult(name="search", device=device, status=status, seconds=0.0, **fields)


def _judged(status: Mapping[str, Any], *, was_killed: bool) -> tuple[dict[str, bool | float], list[str]]:
    """Return the values of the search, and what is wrong with them."""
    trials = status["trials"]
    states = [trial["state"] for trial in trials]
    retried = [trial for trial in trials if trial.get("failed_attempts")]
    values = [trial["value"] for trial in trials if trial["state"] == "COMPLETE" and trial.get("value") is not None]
    row: dict[str, bool | float] = {
        "trials": len(trials),
        "complete": states.count("COMPLETE"),
        "failed": states.count("FAIL"),
        "killed": was_killed,
        "retried": len(retried),
    }
    if values:
        row["best_mAP50-95"] = max(values)
    problems = [
        f"trial {trial['number']} failed: {trial.get('reason') or trial.get('failure')}"
        for trial in trials
        if trial["state"] == "FAIL"
    ]
    if was_killed and not retried:
        problems.append("a training process was killed, but no trial was retried")
    if not was_killed:
        problems.append("no training process was found to kill")
    if not values:
        problems.append("no trial completed")
    return row, problems


def _searched(
    options: Sequence[str], home: Path, log: Path, trainer: Sequence[str], timeout_s: float
) -> tuple[int | None, bool]:
    """Run the search, and kill a training process after the first epoch.

    Returns:
        The exit code, None if the time was over, and whether a process was killed.
    """
    deadline_s = time.monotonic() + timeout_s
    was_killed = False
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tuner", "run", *options]
        search = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while search.poll() is None and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
            if not was_killed and _has_trained(home):
                was_killed = _killed_training(search.pid, trainer)
        return search.poll(), was_killed
    finally:
        _stop(search)


def _has_trained(home: Path) -> bool:
    """Check whether a trial has ended an epoch."""
    with contextlib.suppress(FileNotFoundError):  # trials come and go meanwhile
        return any(path.stat().st_size for path in home.rglob(RECORDS))
    return False


def _killed_training(search: int, trainer: Sequence[str]) -> bool:
    """Kill a process that trains. Return False if there is none.

    Our trainer trains in a child with the same command line; another one may train itself.
    """
    with contextlib.suppress(psutil.Error):
        trainers = {p.pid: p for p in psutil.Process(search).children(recursive=True) if _runs(p, trainer)}
        children = [p for p in trainers.values() if p.ppid() in trainers]
        for process in children or trainers.values():
            process.kill()
            return True
    return False


def _runs(process: psutil.Process, command: Sequence[str]) -> bool:
    try:
        return process.cmdline() == list(command)
    except psutil.Error:  # it has just ended
        return False


def _stop(search: "subprocess.Popen[bytes]") -> None:
    """Stop a search cleanly, or else kill its session."""
    if search.poll() is None:
        search.send_signal(signal.SIGINT)
        try:
            search.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(search.pid, signal.SIGKILL)
            search.wait()


def _status(home: Path) -> dict[str, Any] | None:
    """Return the status of the study; None if there is none."""
    command = [sys.executable, "-m", "tuner", "status", _STUDY, "--home", str(home), "--json"]
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return json.loads(answer.stdout) if answer.returncode == 0 else None
