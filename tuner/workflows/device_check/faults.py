"""Kill a training process in a final run, and a rank of a run on two GPUs, and check that nothing is lost.

Both checks train the sample data set for a few epochs, once without a fault and once with one.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from tuner.contract import (
    EndRecord,
    EpochRecord,
    Outcome,
    PreparedRecord,
    PrepareRequest,
    Record,
    StartedRecord,
    Table,
    TrainRequest,
)
from tuner.exceptions import MachineError
from tuner.execution.trainer_process import TrainerProcess
from tuner.system.scratch import scratch_folder
from tuner.workflows.device_check.results import CheckResult, Status, last_lines

_EPOCHS = 3
_LONGEST_END_S = 30.0
"""Longest time from the death of a rank to the end of its run, in seconds."""

_RANK = "trainer.commands.rank"
"""Module that a rank runs, by which its process is found."""


@dataclass
class _Heard:
    """Records of one request."""

    timeout_s: float
    epochs: list[EpochRecord] = field(default_factory=list)
    end: EndRecord | None = None
    pid: int = 0
    killed_s: float | None = None
    """Time of the kill, and of the end."""
    ended_s: float = 0.0

    def curve(self) -> list[tuple[object, ...]]:
        """Return what must be equal in two identical runs."""
        return [(r.epoch, dict(r.losses), dict(r.metrics or {}), r.learning_rate) for r in self.epochs]


def check_resume(command: Sequence[str], device: str, *, timeout_s: float) -> CheckResult:
    """Kill a final run after its first epoch, resume it, and compare it with one that was never killed."""

    def check(folder: Path, deadline_s: float) -> tuple[dict[str, bool | float], list[str]]:
        request = _request(command, folder, device, deadline_s)
        whole = _train(command, replace(request, directory=str(folder / "whole")), deadline_s)
        _require(whole, Outcome.COMPLETED, "the run without a fault")
        parted = replace(request, directory=str(folder / "parted"))
        killed = _train(command, parted, deadline_s, kill=lambda heard: os.kill(heard.pid, signal.SIGKILL))
        resumed = _train(command, parted, deadline_s)
        _require(resumed, Outcome.COMPLETED, "the resumed run")
        assert killed.end is not None
        same = resumed.curve() == whole.curve()
        problems = []
        if not killed.end.retryable:
            problems.append(f"a killed training process is not retried: {killed.end.message}")
        if not same:
            problems.append("the resumed final run differs from one that was never killed, in losses or metrics")
        return {"killed_after_epoch": 1, "epochs": len(resumed.epochs), "identical": same}, problems

    return _result("resume", device, "A final run, killed and resumed", check, timeout_s)


def check_ranks(command: Sequence[str], *, timeout_s: float) -> CheckResult:
    """Train on two GPUs, kill one rank after the first epoch, and resume."""

    def check(folder: Path, deadline_s: float) -> tuple[dict[str, bool | float], list[str]]:
        request = replace(
            _request(command, folder, "cuda:0", deadline_s), devices=(0, 1), directory=str(folder / "run")
        )
        killed = _train(command, request, deadline_s, kill=_kill_rank)
        resumed = _train(command, request, deadline_s)
        _require(resumed, Outcome.COMPLETED, "the resumed run on two GPUs")
        assert killed.end is not None
        assert killed.killed_s is not None
        seconds = killed.ended_s - killed.killed_s
        problems = []
        if not killed.end.retryable:
            problems.append(f"a run with a killed rank is not retried: {killed.end.message}")
        if seconds > _LONGEST_END_S:
            problems.append(f"a run ended {seconds:.0f} s after one of its ranks, more than {_LONGEST_END_S:.0f}")
        return {"end_after_kill_s": seconds, "epochs": len(resumed.epochs)}, problems

    return _result("ranks", "cuda:0, cuda:1", "A run on two GPUs, one of whose ranks was killed", check, timeout_s)


def _kill_rank(heard: _Heard) -> None:
    ranks = [process for process in psutil.Process(heard.pid).children(recursive=True) if _RANK in process.cmdline()]
    if not ranks:
        raise MachineError("no rank was found to kill")
    max(ranks, key=lambda process: process.pid).kill()


def _request(command: Sequence[str], folder: Path, device: str, deadline_s: float) -> TrainRequest:
    """Prepare the sample data set, and return a final run on it."""
    is_small = device == "cpu"
    prepare = PrepareRequest(
        data="sample:16" if is_small else "sample:128",
        model="mamba-yolo-n" if is_small else "mamba-yolo-t",
        directory=str(folder),
    )
    found: list[Record] = []
    end = _exchange(command, prepare, found.append, deadline_s)
    prepared = next((record for record in found if isinstance(record, PreparedRecord)), None)
    if prepared is None:
        raise MachineError(f"the sample data set could not be prepared: {end.message or end.outcome}")
    return TrainRequest(
        study="device-check",
        trial=0,
        params={
            "imgsz": 64 if is_small else 320,
            "batch": 4 if is_small else 16,
            "nbs": 16,
            "optimizer": "SGD",
            "lr0": 0.01,
            "momentum": 0.9,
            "warmup_epochs": 1.0,
            "close_mosaic": 1,
        },
        model=prepared.model,
        data=prepared.data,
        data_sha256=prepared.data_sha256,
        model_sha256=prepared.model_sha256,
        epochs=_EPOCHS,
        stop_epoch=_EPOCHS,
        validation_epochs=tuple(range(1, _EPOCHS + 1)),
        seed=0,
        devices=() if is_small else (int(device.removeprefix("cuda:")),),
        threads=1 if is_small else 4,
        directory=str(folder / "run"),
        full=True,
    )


def _train(
    command: Sequence[str],
    request: TrainRequest,
    deadline_s: float,
    *,
    kill: Callable[[_Heard], None] | None = None,
) -> _Heard:
    """Carry out a request in a fresh trainer, and call `kill` after its first epoch."""
    heard = _Heard(timeout_s=deadline_s - time.monotonic())

    def listen(record: Record) -> None:
        if isinstance(record, StartedRecord):
            heard.pid = record.pid
        if isinstance(record, EpochRecord):
            heard.epochs.append(record)
            if kill is not None and heard.killed_s is None:
                heard.killed_s = time.monotonic()
                kill(heard)

    heard.end = _exchange(command, request, listen, deadline_s)
    heard.ended_s = time.monotonic()
    return heard


def _exchange(
    command: Sequence[str], request: PrepareRequest | TrainRequest, listen: Callable[[Record], None], deadline_s: float
) -> EndRecord:
    trainer = TrainerProcess(command, error_log=Path(request.directory).parent / "trainer-errors.log")
    try:
        trainer.send(request)
        while (left_s := deadline_s - time.monotonic()) > 0:
            for record in trainer.receive(timeout_s=min(left_s, 1.0)):
                if isinstance(record, EndRecord):
                    return record
                listen(record)
        raise MachineError("it did not end in time")
    finally:
        trainer.close()


def _require(heard: _Heard, outcome: Outcome, what: str) -> None:
    assert heard.end is not None
    if heard.end.outcome != outcome:
        raise MachineError(f"{what} ended as {heard.end.outcome}: {heard.end.message}")


def _result(
    name: str,
    device: str,
    title: str,
    check: Callable[[Path, float], tuple[dict[str, bool | float], list[str]]],
    timeout_s: float,
) -> CheckResult:
    with scratch_folder() as scratch:
        folder = scratch / name
        folder.mkdir()
        try:
            row, problems = check(folder, time.monotonic() + timeout_s)
        except MachineError as error:
            return CheckResult(
                name=name,
                device=device,
                status=Status.UNFINISHED,
                seconds=0.0,
                problems=(f"{name} on {device}: {error}",),
                log=last_lines(folder),
            )
    return CheckResult(
        name=name,
        device=device,
        status=Status.PROBLEM if problems else Status.PASSED,
        seconds=0.0,
        tables=(Table(title=title, rows=(row,)),),
        problems=tuple(problems),
    )
