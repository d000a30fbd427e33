"""Follow the best value of a search over its training time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from tuner.report.page.records.subject import Role, Subject, cost_unit, training_seconds
from tuner.study import TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class BestPoint:
    """Complete trial on the curve of the best value."""

    trial: int
    role: Role
    hours: float
    """GPU-hours of all trials up to the end of this one; on the CPU, hours of one slot."""
    value: float
    best: float
    """Best value so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOverCost:
    """Best value of a search over its training time."""

    metric: str
    unit: str
    points: tuple[BestPoint, ...]
    hours: float
    """The same of all trials, including those that are paused or were stopped."""
    default: float | None
    """Value of the default configuration; None if it is not complete."""
    estimate: tuple[float, float] | None
    """Estimated training time of the whole search, in the unit of `hours`; None if it cannot be compared."""


def best_over_cost(
    subject: Subject, trials: Sequence[TrialRecord], *, epochs_estimated: tuple[float, float] | None = None
) -> BestOverCost | None:
    """Return the best value over the training time; None if no trial is complete or no time is known.

    Trials count in the order in which they ended, each with its whole training time.

    Args:
        subject: Shared facts of the study.
        trials: All trials.
        epochs_estimated: Estimated number of epochs of these trials; converted at the measured pace.
    """
    total = sum(training_seconds(trial) for trial in trials)
    ended = sorted((t for t in trials if t.ended is not None), key=lambda t: (t.ended, t.number))
    points: list[BestPoint] = []
    spent = 0.0
    for trial in ended:
        spent += training_seconds(trial)
        if trial.state != TrialState.COMPLETE or trial.value is None or not math.isfinite(trial.value):
            continue
        best = subject.better(points[-1].best, trial.value) if points else trial.value
        role = subject.role(trial.number)
        points.append(BestPoint(trial=trial.number, role=role, hours=spent / 3600, value=trial.value, best=best))
    if not points or not total:
        return None
    default = next((point.value for point in points if point.trial == subject.default), None)
    return BestOverCost(
        metric=subject.metric,
        unit=cost_unit(trials),
        points=tuple(points),
        hours=total / 3600,
        default=default,
        estimate=_estimate_hours(trials, epochs_estimated),
    )


def _estimate_hours(
    trials: Sequence[TrialRecord], epochs_estimated: tuple[float, float] | None
) -> tuple[float, float] | None:
    epochs = sum(trial.facts.epochs or 0 for trial in trials)
    if epochs_estimated is None or not epochs:
        return None
    hours_per_epoch = sum(training_seconds(trial) for trial in trials) / epochs / 3600
    return epochs_estimated[0] * hours_per_epoch, epochs_estimated[1] * hours_per_epoch
