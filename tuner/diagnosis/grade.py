"""Grade a result by the targets of the training guide [guide 19]."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tuner.diagnosis.runs import Run, RunEpoch


class Mark(StrEnum):
    """The guide's marks for a result, from lowest to highest."""

    BELOW = "below the targets"
    OK = "OK"
    GOOD = "good"
    EXCELLENT = "excellent"


TARGETS = {"mAP50": (0.6, 0.7, 0.8), "mAP50-95": (0.4, 0.5, 0.6)}
"""Values above which a result is OK, good and excellent, after 300 epochs or more."""
GOOD_RUN = {"mAP50": (0.60, 0.75), "mAP50-95": (0.40, 0.55), "precision": (0.65, 0.80), "recall": (0.60, 0.75)}
"""Ranges of the metrics of a good run from scratch."""
TARGET_EPOCHS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """The mark of the best epoch of a run."""

    epoch: int
    metrics: Mapping[str, float]
    mark: Mark
    """Lower one of the marks for mAP50 and mAP50-95."""
    below_good_run: tuple[str, ...]
    """Metrics below the range of a good run from scratch."""


def grade(run: Run) -> Grade | None:
    """Grade the epoch with the highest mAP50-95 (its weights are best.pt); None without a validated epoch.

    The targets apply to detectors: the metrics of other tasks have other names, so these runs get no grade.
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
    """Return the mark for a metric that has targets; a value equal to a target is not above it."""
    return list(Mark)[sum(value > target for target in TARGETS[name])]


def _is_validated(epoch: RunEpoch) -> bool:
    """Check whether an epoch has valid mAP values; NaN and infinity do not count."""
    return all(0 <= (epoch.metrics or {}).get(name, -1.0) <= 1 for name in TARGETS)
