"""Interpret the results of a search as a whole: no trial learnt anything, all are equal, or none can be better.

One value of one trial is never enough. All trials count, including those that were stopped early or failed.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

from optuna.trial import TrialState

from tuner.study import TrialRecord, best_trial
from tuner.trials.live import DIVERGED

_SHOWN_AS_ZERO = 0.00005
"""Metrics below this are shown as 0.0000 and count as 0: chance hits alone score as little."""

_HIGHEST_AP = 0.995
"""AP that ultralytics computes for perfect detections: its precision falls to 0 at the last of 101 recall points."""

_ROUNDING = 1e-6

_CAUSES_OF_ZERO = (
    "labels that are not found or have other classes, a wrong data path, a validation split without objects, "
    "or too few epochs for the metric to rise above 0"
)
_CAUSES_OF_EQUALITY = (
    "a metric that does not depend on the searched parameters, a trainer that ignores them, "
    "or a validation split too small to distinguish models"
)


def highest_possible(metric: str) -> float:
    """Return the highest possible value of a metric."""
    return _HIGHEST_AP if metric.startswith("mAP") else 1.0


def is_zero(value: float) -> bool:
    """Check whether a metric shows that the model has learnt nothing."""
    return value < _SHOWN_AS_ZERO


def at_ceiling(value: float, metric: str) -> bool:
    """Check whether a metric has its highest possible value."""
    return value >= highest_possible(metric) - _ROUNDING


def complete(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that ran to the last epoch."""
    return [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]


def configurations(trials: Sequence[TrialRecord]) -> int:
    """Count the different configurations that ran to the last epoch; repeats of one rightly have equal values."""
    return len({repr(sorted(trial.params.items())) for trial in complete(trials)})


def nothing_learnt(trials: Sequence[TrialRecord], metric: str) -> str | None:
    """Return why no trial is worth a final run, with likely causes; None if one is, or before one has completed."""
    best = best_trial(trials)
    if best is None or best.value is None:
        return None
    if is_zero(best.value):
        number = len(complete(trials))
        whose = "the only complete trial" if number == 1 else f"the {number} complete trials"
        return f"the best {metric} of {whose} is 0; likely causes: {_CAUSES_OF_ZERO}"
    if not at_ceiling(best.value, metric) and _without_effect(trials):
        return (
            f"{configurations(trials)} different configurations all have the same {metric}, {best.value:.4g}; "
            f"likely causes: {_CAUSES_OF_EQUALITY}"
        )
    return None


def _without_effect(trials: Sequence[TrialRecord]) -> bool:
    """Check whether different configurations have one final value, and no metric of any trial differs at any epoch."""
    if len({trial.value for trial in complete(trials)}) != 1 or configurations(trials) == 1:
        return False
    if any(trial.reason.startswith(DIVERGED) for trial in trials):
        return False
    by_epoch: defaultdict[int, set[float]] = defaultdict(set)
    for trial in trials:
        for epoch, value in trial.curve.items():
            if math.isfinite(value):
                by_epoch[epoch].add(value)
    return all(len(values) == 1 for values in by_epoch.values())


def found_ceiling(trials: Sequence[TrialRecord], metric: str, *, enough: int) -> str | None:
    """Return why no better result is possible: at least `enough` trials have the highest value. None if fewer have."""
    number = sum(at_ceiling(trial.value, metric) for trial in complete(trials) if trial.value is not None)
    if number < enough:
        return None
    return f"{number} trials have the highest possible {metric}, {highest_possible(metric):g}"
