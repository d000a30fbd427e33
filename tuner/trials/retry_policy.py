"""Why trials fail, and what is done about each kind of failure: one table, no clock, no processes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.contract import EndRecord, Outcome


class Failure(StrEnum):
    """Whose fault it was."""

    INFRASTRUCTURE = "infrastructure"
    """A machine, a process or a disk: the same trial may succeed when it is tried again."""
    HUNG = "hung"
    """No sign of life for too long."""
    OUT_OF_MEMORY = "out of memory"
    """The GPU or the host cannot train this configuration."""
    BAD_DATA = "bad data"
    BUG = "error"
    """It would fail again in the same way."""


MAX_RETRIES: Mapping[Failure, int] = {
    Failure.INFRASTRUCTURE: 2,
    Failure.HUNG: 1,
    Failure.OUT_OF_MEMORY: 0,
    Failure.BAD_DATA: 0,
    Failure.BUG: 0,
}
"""How often a trial is tried again after such a failure, without an epoch trained in between."""

MAX_IDENTICAL = 3
"""As many trials that fail for one cause, before any has a figure, are not the configurations' fault."""

_OUTCOMES: Mapping[Outcome, Failure] = {
    Outcome.HUNG: Failure.HUNG,
    Outcome.OUT_OF_MEMORY: Failure.OUT_OF_MEMORY,
    Outcome.BAD_DATA: Failure.BAD_DATA,
    Outcome.BAD_MODEL: Failure.BUG,
    Outcome.ERROR: Failure.BUG,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Setback:
    """One failure of a trial that was, or may be, tried again."""

    failure: Failure
    epoch: int
    """The last epoch that the trial had told of (0: none)."""
    cause: str


def failure_of(end: EndRecord) -> Failure | None:
    """The kind of failure that an end record tells of; none when it tells of none."""
    if end.outcome == Outcome.ERROR and end.retryable:
        return Failure.INFRASTRUCTURE
    return _OUTCOMES.get(end.outcome)


def what_helps(end: EndRecord, command: str) -> str:
    """What to do after a run has failed: a command that continues it helps only against what may pass."""
    if failure_of(end) in (Failure.INFRASTRUCTURE, Failure.HUNG):
        return f"{command} goes on with it."
    return "It would fail again in the same way: correct the cause first."


def is_retried(setbacks: Sequence[Setback]) -> bool:
    """Whether a trial goes on after the last of its setbacks, the oldest first."""
    last = setbacks[-1]
    at_this_epoch = [setback for setback in setbacks if setback.epoch == last.epoch and setback.failure == last.failure]
    return len(at_this_epoch) <= MAX_RETRIES[last.failure]


def alike(cause: str) -> str:
    """A cause without its numbers: two trials that fail at different batches or addresses fail alike."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", cause)
