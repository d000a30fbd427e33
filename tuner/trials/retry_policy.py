"""Classify failures, and decide how often each kind is retried: one table, no clock, no processes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.contract import EndRecord, Outcome


class Failure(StrEnum):
    """The kind of a failure, by its cause."""

    INFRASTRUCTURE = "infrastructure"
    """A machine, a process or a disk: the same trial may succeed when it is retried."""
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
"""How often a trial is retried after a failure of this kind, without an epoch trained in between."""

MAX_IDENTICAL = 3
"""This many trials that fail for one cause, before any has a metric, are not the configurations' fault."""

_OUTCOMES: Mapping[Outcome, Failure] = {
    Outcome.HUNG: Failure.HUNG,
    Outcome.OUT_OF_MEMORY: Failure.OUT_OF_MEMORY,
    Outcome.BAD_DATA: Failure.BAD_DATA,
    Outcome.BAD_MODEL: Failure.BUG,
    Outcome.ERROR: Failure.BUG,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedAttempt:
    """A failed attempt at a trial."""

    failure: Failure
    epoch: int
    """The last epoch that the trial had trained, in this attempt or before (0: none)."""
    cause: str


def failure_of(end: EndRecord) -> Failure | None:
    """Classify an end record; none if it is no failure."""
    if end.outcome == Outcome.ERROR and end.retryable:
        return Failure.INFRASTRUCTURE
    return _OUTCOMES.get(end.outcome)


def what_helps(end: EndRecord, command: str) -> str:
    """Say what to do after a failed run: running the command again helps only against transient failures."""
    if failure_of(end) in (Failure.INFRASTRUCTURE, Failure.HUNG):
        return f"{command} goes on with it."
    return "It would fail again in the same way: correct the cause first."


def is_retried(failed: Sequence[FailedAttempt]) -> bool:
    """Whether a trial is retried after the last of its failed attempts, the oldest first."""
    last = failed[-1]
    at_this_epoch = [attempt for attempt in failed if attempt.epoch == last.epoch and attempt.failure == last.failure]
    return len(at_this_epoch) <= MAX_RETRIES[last.failure]


def normalised_cause(cause: str) -> str:
    """Replace the numbers in a cause, so that failures at different batches or addresses count as the same."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", cause)
