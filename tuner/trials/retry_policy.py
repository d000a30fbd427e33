"""Classify failures, and decide how often each kind is retried. The rules use no clock and no processes."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from tuner.contract import EndRecord, Outcome
from tuner.study import FailedAttempt


class Failure(StrEnum):
    """Kind of a failure, by its cause."""

    INFRASTRUCTURE = "infrastructure"
    """Failure of a machine, a process or a disk: the same trial can succeed when it is retried."""
    HUNG = "hung"
    """No sign of life within the watchdog's time limit."""
    OUT_OF_MEMORY = "out of memory"
    """Configuration that needs more memory than the GPU or the host has."""
    BAD_DATA = "bad data"
    BUG = "error"
    """Permanent failure: a retry would fail with the same error."""


MAX_RETRIES: Mapping[Failure, int] = {
    Failure.INFRASTRUCTURE: 2,
    Failure.HUNG: 1,
    Failure.OUT_OF_MEMORY: 0,
    Failure.BAD_DATA: 0,
    Failure.BUG: 0,
}
"""Maximum number of retries after failures of one kind without a new epoch in between."""

MAX_IDENTICAL = 3
"""Number of failed trials with one cause that ends a search before any trial has a metric: then the configurations are
not at fault. The same number of trials lost in a row without a new epoch ends it too."""

_OUTCOMES: Mapping[Outcome, Failure] = {
    Outcome.HUNG: Failure.HUNG,
    Outcome.OUT_OF_MEMORY: Failure.OUT_OF_MEMORY,
    Outcome.BAD_DATA: Failure.BAD_DATA,
    Outcome.BAD_MODEL: Failure.BUG,
    Outcome.ERROR: Failure.BUG,
}


def failure_of(end: EndRecord) -> Failure | None:
    """Return the kind of failure of an end record; None if it is not a failure."""
    if end.outcome == Outcome.ERROR and end.retryable:
        return Failure.INFRASTRUCTURE
    return _OUTCOMES.get(end.outcome)


def what_helps(end: EndRecord, command: str) -> str:
    """Return the remedy for a failed run: running the command again helps only against transient failures."""
    if failure_of(end) in (Failure.INFRASTRUCTURE, Failure.HUNG):
        return f"{command} resumes it."
    return "It would fail again with the same error: fix the cause first."


def is_retried(failed: Sequence[FailedAttempt]) -> bool:
    """Check whether a trial is retried after these failed attempts (the oldest first)."""
    last = failed[-1]
    at_this_epoch = [attempt for attempt in failed if attempt.epoch == last.epoch and attempt.failure == last.failure]
    return len(at_this_epoch) <= MAX_RETRIES[Failure(last.failure)]


def normalised_cause(cause: str) -> str:
    """Replace the numbers in a cause, so that failures at different batches or addresses count as the same one."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", cause)
