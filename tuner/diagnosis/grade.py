"""How good a result is by the targets of the training guide [guide 19]."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tuner.diagnosis.runs import Run, RunEpoch


class Mark(StrEnum):
    """The guide's words for a result, the lowest first."""

    BELOW = "below the targets"
    OK = "OK"
    GOOD = "good"
    EXCELLENT = "excellent"


TARGETS = {"mAP50": (0.6, 0.7, 0.8), "mAP50-95": (0.4, 0.5, 0.6)}
"""Above which a result is OK, good and excellent, after 300 epochs and more."""
GOOD_RUN = {"mAP50": (0.60, 0.75), "mAP50-95": (0.40, 0.55), "precision": (0.65, 0.80), "recall": (0.60, 0.75)}
"""What a good run from scratch shows."""
TARGET_EPOCHS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """The best epoch of a run, judged."""

    epoch: int
    metrics: Mapping[str, float]
    mark: Mark
    """The lower of those for mAP50 and mAP50-95."""
    below_good_run: tuple[str, ...]
    """The metrics that are lower than those of a good run from scratch."""


def grade(run: Run) -> Grade | None:
    """The grade of the epoch with the highest mAP50-95, whose weights are best.pt; none without a validated epoch.

    The targets are a detector's: a run of another task has metrics of other names, and so no grade.
    """
    best = max(filter(_is_validated, run.epochs), key=lambda e: (e.metrics or {})["mAP50-95"], default=None)
    if best is None or best.metrics is None:
        return None
    metrics = best.metrics
    return Grade(
        epoch=best.epoch,
        metrics=metrics,
        mark=min((mark(name, metrics[name]) for name in TARGETS), key=list(Mark).index),
        below_good_run=tuple(name for name, (low, _) in GOOD_RUN.items() if metrics.get(name, low) < low),
    )


def mark(name: str, value: float) -> Mark:
    """The mark for one of the metrics that have targets; what equals a target is not above it."""
    return list(Mark)[sum(value > target for target in TARGETS[name])]


def _is_validated(epoch: RunEpoch) -> bool:
    """A value that is NaN or infinite is no result."""
    return all(0 <= (epoch.metrics or {}).get(name, -1.0) <= 1 for name in TARGETS)
