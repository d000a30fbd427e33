"""What a diagnosis can find, and what it says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tuner.contract import ParamValue


class Condition(StrEnum):
    """The state of a run, as the training guide tells them apart."""

    NORMAL = "normal"
    TOO_EARLY = "too-early"
    NOT_JUDGED = "not-judged"
    DIVERGED = "diverged"
    NO_VALIDATION_LABELS = "no-validation-labels"
    VALIDATION_OVERFLOW = "validation-overflow"
    OSCILLATING = "oscillating"
    LOSS_NOT_FALLING = "loss-not-falling"
    OVERFITTING = "overfitting"
    NOT_LEARNING = "not-learning"
    PLATEAU = "plateau"
    OUT_OF_MEMORY = "out-of-memory"
    SLOW = "slow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A condition that holds, what shows it, and what to do."""

    condition: Condition
    epochs: tuple[int, int]
    """First and last, 1-based; both 0 where the run has no whole epoch."""
    evidence: str
    """One line with the values."""
    advice: str
    """One line."""
    changes: Mapping[str, ParamValue] = field(default_factory=dict)
    """Training arguments and their new values; empty where no argument would help."""
