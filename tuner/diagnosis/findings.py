"""Conditions that a diagnosis can find, and findings with evidence and advice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tuner.contract import ParamValue


class Condition(StrEnum):
    """The state of a run, by the distinctions of the training guide."""

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
    """A condition that applies, its evidence, and a remedy."""

    condition: Condition
    epochs: tuple[int, int]
    """First and last epoch, 1-based; both 0 if the run has no complete epoch."""
    evidence: str
    """One line with the measured values."""
    advice: str
    """Remedy in one line."""
    changes: Mapping[str, ParamValue] = field(default_factory=dict)
    """Training arguments and their new values; empty if no argument would help."""
