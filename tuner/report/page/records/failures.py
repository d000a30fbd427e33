"""Group failed trials and failed attempts by their cause."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState

from tuner.study import TrialRecord
from tuner.system.printable import printable
from tuner.trials.live import DIVERGED
from tuner.trials.retry_policy import normalised_cause

_EXCERPT_LINES = 12
_EXCERPT_BYTES = 4096
_LONGEST_LINE = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureGroup:
    """Failures with the same cause, apart from its numbers."""

    kind: str
    """Failure class, or "diverged"."""
    cause: str
    """Cause of the first of them, as it was recorded."""
    ended: tuple[int, ...]
    """Numbers of the trials that it ended for good."""
    retried: tuple[int, ...]
    """Number of the trial for each failed attempt after which the trial was retried; a number can repeat."""
    excerpt: str
    """Last lines of the log of one of the trials; empty without a log."""
    excerpt_of: int
    """Number of the trial that the excerpt belongs to."""


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: str
    cause: str
    trial: TrialRecord
    is_end: bool


def failure_groups(trials: Sequence[TrialRecord]) -> tuple[FailureGroup, ...]:
    """Return the failures of all trials by cause, the cause of the most first. The logs are read."""
    groups: dict[tuple[str, str], list[_Failure]] = {}
    for trial in trials:
        for failure in _failures(trial):
            groups.setdefault((failure.kind, normalised_cause(failure.cause)), []).append(failure)
    return tuple(sorted((_group(each) for each in groups.values()), key=lambda g: -len(g.ended) - len(g.retried)))


def log_excerpt(log: Path) -> str:
    """Return the last lines of a log, with unsafe characters escaped; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _EXCERPT_BYTES))
            text = file.read(_EXCERPT_BYTES).decode(errors="replace")
    except OSError:
        return ""
    # Progress bars overwrite their line: only the last state counts.
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return "\n".join(printable(line)[:_LONGEST_LINE] for line in [line for line in lines if line][-_EXCERPT_LINES:])


def _failures(trial: TrialRecord) -> Iterator[_Failure]:
    attempts = trial.facts.failed_attempts or ()
    ended = trial.state == TrialState.FAIL or bool(trial.facts.failure)
    for i, attempt in enumerate(attempts):
        yield _Failure(attempt.failure, attempt.cause, trial, ended and i == len(attempts) - 1)
    if ended and not attempts:
        kind = trial.facts.failure or "error"
        yield _Failure(kind, trial.reason.removeprefix(f"{kind}: "), trial, True)
    if trial.state == TrialState.PRUNED and trial.reason.startswith(DIVERGED):
        yield _Failure(DIVERGED, trial.reason.removeprefix(DIVERGED).lstrip(": "), trial, True)


def _group(failures: Sequence[_Failure]) -> FailureGroup:
    excerpts = (
        (each.trial.number, log_excerpt(Path(each.trial.facts.log))) for each in failures if each.trial.facts.log
    )
    shown = next(((number, text) for number, text in excerpts if text), (failures[0].trial.number, ""))
    return FailureGroup(
        kind=failures[0].kind,
        cause=failures[0].cause,
        ended=tuple(each.trial.number for each in failures if each.is_end),
        retried=tuple(each.trial.number for each in failures if not each.is_end),
        excerpt=shown[1],
        excerpt_of=shown[0],
    )
