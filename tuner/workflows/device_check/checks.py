"""Plan the checks of a machine's devices, and make one after the other, each in a fresh trainer.

A check that crashes or hangs ends only itself. Every limit includes compiling.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tuner.contract import (
    DeviceCheck,
    DeviceCheckRecord,
    DeviceCheckRequest,
    EndRecord,
    Gpu,
    Outcome,
    Record,
)
from tuner.exceptions import UsageError
from tuner.execution.single_request import ask
from tuner.system.scratch import scratch_folder
from tuner.workflows.device_check import faults, search
from tuner.workflows.device_check.results import CheckResult, Status, last_lines

_LIMITS_S = {
    DeviceCheck.SCAN_TUNING: 420,
    DeviceCheck.SCAN_ACCURACY: 300,
    DeviceCheck.SCAN_SPEED: 300,
    DeviceCheck.MODEL_SPEED: 420,
    DeviceCheck.DETERMINISM: 180,
    DeviceCheck.MEMORY: 300,
    DeviceCheck.SHARING: 600,
    DeviceCheck.LOADING: 240,
}
"""Time in seconds after which a check is ended."""

NAMES = (*DeviceCheck, "resume", "ranks", "search")
"""Names of all checks, in their order."""

_LEAST_S = 20.0
"""Remaining time below which no further check starts, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Devices to check, and the time for it."""

    command: tuple[str, ...]
    """Command of the trainer."""
    gpus: tuple[Gpu, ...]
    """GPUs to check; empty for the small form on the CPU."""
    limit_s: float
    """Time in seconds after which no check runs."""
    only: tuple[str, ...] = NAMES
    """Names of the checks to make."""

    @property
    def is_small(self) -> bool:
        """True to check small cases on the CPU."""
        return not self.gpus


@dataclass(frozen=True, slots=True)
class _Planned:
    name: str
    device: str
    make: Callable[[float], CheckResult]
    """Function that makes the check within a number of seconds."""


def named(names: Sequence[str]) -> tuple[str, ...]:
    """Return the checks with these names; all if there is none.

    Raises:
        UsageError: There is no check with one of these names.
    """
    if unknown := sorted(set(names).difference(NAMES)):
        raise UsageError(f"--only must be one of {', '.join(NAMES)}, but got {', '.join(unknown)}.")
    return tuple(names) or NAMES


def run(scope: Scope, *, on_begin: Callable[[str, str], None]) -> Iterator[CheckResult]:
    """Make all checks, and yield each result.

    Args:
        scope: Devices, trainer and time.
        on_begin: Function that receives name and device of each check before it starts.
    """
    ends_s = time.monotonic() + scope.limit_s
    for planned in _plan(scope):
        left_s = ends_s - time.monotonic()
        if left_s < _LEAST_S:
            reason = f"the {scope.limit_s / 60:g} minutes are over (--max-minutes)"
            yield _skipped(planned.name, planned.device, reason)
            continue
        on_begin(planned.name, planned.device)
        began_s = time.monotonic()
        result = planned.make(left_s)
        yield replace(result, seconds=time.monotonic() - began_s)


def _plan(scope: Scope) -> list[_Planned]:
    """List the checks. All are made on the first GPU of each kind; the others only compute correctly, or not."""
    firsts = {gpu.name: f"cuda:{index}" for index, gpu in reversed(list(enumerate(scope.gpus)))}
    devices = [f"cuda:{index}" for index in range(len(scope.gpus))] or ["cpu"]
    planned = []
    for check in DeviceCheck:
        chosen = devices if check == DeviceCheck.SCAN_ACCURACY else (sorted(firsts.values()) or ["cpu"])
        planned += [_Planned(check, device, _on_device(scope, check, device)) for device in chosen]
    everywhere = ", ".join(devices)
    first = devices[0]
    planned.append(_Planned("resume", first, lambda s: faults.check_resume(scope.command, first, timeout_s=s)))
    if len(scope.gpus) > 1:
        planned.append(_Planned("ranks", everywhere, lambda s: faults.check_ranks(scope.command, timeout_s=s)))
    else:
        planned.append(_Planned("ranks", first, lambda s: _skipped("ranks", first, "it needs two GPUs")))
    planned.append(
        _Planned(
            "search",
            everywhere,
            lambda s: search.check(scope.command, everywhere, is_small=scope.is_small, timeout_s=s),
        )
    )
    return [one for one in planned if one.name in scope.only]


def _skipped(name: str, device: str, reason: str) -> CheckResult:
    return CheckResult(name=name, device=device, status=Status.SKIPPED, seconds=0.0, notes=(reason,))


def _on_device(scope: Scope, check: DeviceCheck, device: str) -> Callable[[float], CheckResult]:
    def make(left_s: float) -> CheckResult:
        return _asked(scope.command, check, device, is_small=scope.is_small, timeout_s=min(left_s, _LIMITS_S[check]))

    return make


def _asked(command: Sequence[str], check: str, device: str, *, is_small: bool, timeout_s: float) -> CheckResult:
    """Have a fresh trainer make a check.

    Raises:
        MachineError: The trainer does not know the request.
    """
    heard: list[Record] = []
    with scratch_folder() as scratch:
        folder = scratch / f"{check}-{device.replace(':', '')}"
        folder.mkdir()
        threads = 1 if is_small else len(os.sched_getaffinity(0))
        request = DeviceCheckRequest(check=check, device=device, small=is_small, threads=threads, directory=str(folder))
        end = ask(command, request, heard.append, timeout_s=timeout_s)
        log = last_lines(folder) if end.outcome != Outcome.COMPLETED else ""
    record = next((record for record in heard if isinstance(record, DeviceCheckRecord)), None)
    if end.outcome != Outcome.COMPLETED or record is None:
        return _unfinished(check, device, end, timeout_s, log)
    return CheckResult(
        name=check,
        device=device,
        status=Status.PROBLEM if record.problems else Status.PASSED,
        seconds=0.0,
        tables=record.tables,
        notes=record.notes,
        problems=record.problems,
    )


def _unfinished(check: str, device: str, end: EndRecord, timeout_s: float, log: str) -> CheckResult:
    told = f"it did not end within {timeout_s:.0f} s" if end.outcome == Outcome.HUNG else end.message
    return CheckResult(
        name=check,
        device=device,
        status=Status.UNFINISHED,
        seconds=0.0,
        problems=(f"{check} on {device}: {told or end.outcome}",),
        log=log,
    )
