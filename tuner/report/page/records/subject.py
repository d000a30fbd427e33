"""Collect the facts about a study that all charts share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from optuna.trial import TrialState

from tuner.exceptions import NoSuccessfulTrialError
from tuner.study import ReadableStudy, TrialRecord
from tuner.training.final_run import choose_winner

MOST_DRAWN = 2000
"""Maximum size of the even sample that a chart draws: more would make a page slow, and hide each other."""
_BEST_DRAWN = 50
"""Number of the best trials that are drawn in any case."""


class Role(StrEnum):
    """Role of a trial in the charts."""

    WINNER = "winner"
    DEFAULT = "default"
    OTHER = "other trial"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Facts about a study that all charts share."""

    name: str
    metric: str
    winner: int | None
    """Trial number of the winner; None before there is one."""
    default: int | None
    """Trial number of the default configuration; None if the study has none."""
    maximised: bool = True
    """False if a lower value is better, which only a study of another program can have."""

    def role(self, trial: int) -> Role:
        """Return the role of a trial; a default configuration that was not beaten stays the default."""
        if trial == self.default:
            return Role.DEFAULT
        return Role.WINNER if trial == self.winner else Role.OTHER

    def better(self, one: float, other: float) -> float:
        """Return the better one of two values."""
        return max(one, other) if self.maximised else min(one, other)


def subject_of(study: ReadableStudy) -> Subject:
    """Return the shared facts of a study that tune created."""
    try:
        winner = choose_winner(study).trial.number
    except NoSuccessfulTrialError:
        winner = None
    return Subject(name=study.name, metric=study.spec.metric, winner=winner, default=0)


def even_sample(trials: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """Return all trials; of more than `MOST_DRAWN`, an even sample over the search."""
    return trials[:: max(math.ceil(len(trials) / MOST_DRAWN), 1)]


def drawn_trials(subject: Subject, trials: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
    """Return all trials; of too many, an even sample, the winner, the default, and the best complete ones."""
    sample = even_sample(trials)
    if len(sample) == len(trials):
        return trials
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and finite(trial.value) is not None]
    best = sorted(complete, key=lambda trial: trial.value or 0.0, reverse=subject.maximised)[:_BEST_DRAWN]
    kept = {trial.number for trial in (*sample, *best)} | {subject.winner, subject.default}
    return [trial for trial in trials if trial.number in kept]


def sample_note(drawn: Sequence[TrialRecord], trials: Sequence[TrialRecord]) -> str:
    """Return the sentence that says which share of the trials a chart draws; "" for all."""
    if len(drawn) == len(trials):
        return ""
    return f" Of {len(trials):,} trials, {len(drawn):,} are drawn: an even sample, and the best."


def cost_unit(trials: Sequence[TrialRecord]) -> str:
    """Return the name of an hour of training: of one GPU, or of one slot on the CPU; "hours" if no device is known."""
    devices = [trial.facts.device for trial in trials if trial.facts.device]
    if not devices:
        return "hours"
    return "slot-hours" if any(device.upper().startswith("CPU") for device in devices) else "GPU-hours"


def training_seconds(trial: TrialRecord) -> float:
    """Return the GPU-seconds of a trial; of a trial of another program, the time between its start and end."""
    if trial.facts.seconds is not None:
        return trial.facts.gpu_seconds
    if trial.facts.directory is None and trial.began is not None and trial.ended is not None:
        return (trial.ended - trial.began).total_seconds()
    return 0.0


def finite(value: float | None) -> float | None:
    """Return the value; None if it is NaN, infinite or missing."""
    return value if value is not None and math.isfinite(value) else None
