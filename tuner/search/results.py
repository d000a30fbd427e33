"""What the results of a search say as a whole: nothing was learnt, nothing has an effect, or nothing can be better.

One value of one trial says none of it. All trials are heard, also those that were stopped early or failed.
"""

import math
from collections import defaultdict
from collections.abc import Sequence

from optuna.trial import TrialState

from tuner.study import TrialRecord, best_trial
from tuner.trials.live import DIVERGED

_SHOWN_AS_ZERO = 0.00005
"""What rounds to 0.0000 is told as 0, and means as much: chance hits alone score so little."""

_HIGHEST_AP = 0.995
"""What ultralytics gives to perfect detections: its precision falls to 0 at the last of 101 points of recall."""

_ROUNDING = 1e-6

_CAUSES_OF_ZERO = (
    "labels that are not found or are of other classes, a wrong data path, a validation split without objects, "
    "or too few epochs for the metric to leave 0"
)
_CAUSES_OF_EQUALITY = (
    "a metric that does not depend on what is searched, a trainer that ignores its parameters, "
    "or a validation split too small to tell models apart"
)


def highest_possible(metric: str) -> float:
    """The best value of a metric."""
    return _HIGHEST_AP if metric.startswith("mAP") else 1.0


def is_zero(value: float) -> bool:
    """Whether a model with this value has learnt nothing."""
    return value < _SHOWN_AS_ZERO


def at_ceiling(value: float, metric: str) -> bool:
    """Whether no model can have a better value."""
    return value >= highest_possible(metric) - _ROUNDING


def complete(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those that ran to their end."""
    return [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]


def configurations(trials: Sequence[TrialRecord]) -> int:
    """How many different configurations ran to their end: the same one again has the same value by right."""
    return len({repr(sorted(trial.params.items())) for trial in complete(trials)})


def nothing_learnt(trials: Sequence[TrialRecord], metric: str) -> str | None:
    """Why no trial is worth a full run, with the likely causes; none where one is, or before one ran to its end."""
    best = best_trial(trials)
    if best is None or best.value is None:
        return None
    if is_zero(best.value):
        number = len(complete(trials))
        whose = "the one trial that ran to its end" if number == 1 else f"the {number} trials that ran to their end"
        return f"the best {metric} of {whose} is 0; likely causes: {_CAUSES_OF_ZERO}"
    if not at_ceiling(best.value, metric) and _without_effect(trials):
        return (
            f"{configurations(trials)} different configurations all have the same {metric}, {best.value:.4g}; "
            f"likely causes: {_CAUSES_OF_EQUALITY}"
        )
    return None


def _without_effect(trials: Sequence[TrialRecord]) -> bool:
    """Whether different configurations came to one value, and nothing that was ever heard of any trial differs."""
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
    """Why nothing better can come: so many trials have the best value that there is. None where they are fewer."""
    number = sum(at_ceiling(trial.value, metric) for trial in complete(trials) if trial.value is not None)
    if number < enough:
        return None
    return f"{number} trials have the highest {metric} that is possible, {highest_possible(metric):g}"
