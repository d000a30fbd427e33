"""What is being trained now, and what is decided of it."""

from dataclasses import dataclass, field
from enum import StrEnum

from tuner.contract import EpochRecord
from tuner.trials.retry_policy import Setback

DIVERGED = "diverged"
"""What the reason of such a trial begins with."""


class Decision(StrEnum):
    """What a trainer should do after what it said."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(kw_only=True, slots=True)
class LiveTrial:
    """A trial that is being trained now."""

    number: int
    device: str = ""
    epoch: int = 0
    value: float | None = None
    """Metric at the last validated epoch."""
    seconds: float = 0.0
    memory_gib: float = 0.0
    latest: EpochRecord | None = None
    attempts: int = 0
    """How often a trainer has begun or gone on with it."""
    setbacks: list[Setback] = field(default_factory=list)
    """The failures after which it was tried again."""

    @property
    def label(self) -> str:
        return str(self.number)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTerms:
    """What is the same for every trial of a run."""

    threads: int
    gpus_per_trial: int
    validate_every_epoch: bool


def trained(trial: LiveTrial) -> dict[str, object]:
    """How far a trial has come, for its record."""
    return {
        "epochs": trial.epoch,
        "seconds": round(trial.seconds, 3),
        "memory_gib": round(trial.memory_gib, 3),
        **_what_ran(trial.latest),
    }


def _what_ran(latest: EpochRecord | None) -> dict[str, object]:
    """What the last epoch says of the trial, for its record."""
    if latest is None:
        return {}
    metrics = {} if latest.metrics is None else {"metrics": dict(latest.metrics)}
    return {"batch": latest.batch, "checkpoint": latest.checkpoint, **metrics}
