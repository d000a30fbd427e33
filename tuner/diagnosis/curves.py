"""The curves of a run, and measures of them that a single odd epoch does not move."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from tuner.diagnosis.columns import scores
from tuner.diagnosis.runs import Run

Curve = tuple[tuple[int, float], ...]
"""(epoch, value), in the order of the epochs; every value is finite."""

CURVE_EPOCHS = 10
"""What can be judged by its shape has as many epochs, the warm-up left out."""
RISE = 0.02
"""Of mAP, 0..1: more than the guide's run gains that is stuck, from 0.45 to 0.46 [guide 30]."""
_USUAL_BOX_WEIGHT = 7.5
_MOST_SECONDS = 30 * 86400.0
_LEAST_WINDOW = 3
_WINDOW_SHARE = 5
"""A window holds a fifth of the curve: wide enough that its median is not noise, narrow enough to be an end."""


def train_loss(run: Run) -> Curve:
    """The sum of the training losses."""
    return _total(run, [(e.epoch, e.train) for e in run.epochs])


def val_loss(run: Run) -> Curve:
    """The sum of the validation losses, where there are any."""
    return _total(run, [(e.epoch, e.val or {}) for e in run.epochs])


def box_loss(run: Run) -> Curve:
    """The training loss of the boxes, as it would be with ultralytics' usual weight; empty for another kind of loss."""
    weight = run.number("box", _USUAL_BOX_WEIGHT) or _USUAL_BOX_WEIGHT
    name = run.columns.box
    return _curve((e.epoch, e.train.get(name, math.nan) * _USUAL_BOX_WEIGHT / weight) for e in run.epochs)


def metric(run: Run, name: str) -> Curve:
    """A metric, where there is one."""
    return _curve((e.epoch, (e.metrics or {}).get(name, math.nan)) for e in run.epochs)


def score(run: Run) -> Curve:
    """The metric that shows the course of the run: mAP50 for a detector."""
    return metric(run, scores(run.columns.task)[1])


def since(curve: Curve, epoch: int) -> Curve:
    """From that epoch on."""
    return tuple(point for point in curve if point[0] >= epoch)


def around(curve: Curve, epoch: int) -> float:
    """The median of the values nearest to that epoch, as many as `last` looks at; NaN where it is empty."""
    return level(tuple(sorted(curve, key=lambda point: abs(point[0] - epoch))[: _window(curve)]))


def best(curve: Curve, otherwise: float) -> float:
    """Its highest value, or another where it is empty."""
    return max((value for _, value in curve), default=otherwise)


def epoch_seconds(run: Run) -> Curve:
    """What each epoch took, where that can be."""
    times = _curve((e.epoch, math.nan if e.seconds is None else e.seconds) for e in run.epochs)
    return tuple(point for point in times if 0 < point[1] <= _MOST_SECONDS)


def judged_from(run: Run) -> int:
    """The epoch from which on the shape of a curve can be judged."""
    return run.warm_up_epochs + CURVE_EPOCHS


def first(curve: Curve) -> float:
    """The median of its first fifth; NaN where it is empty."""
    return level(curve[: _window(curve)])


def last(curve: Curve) -> float:
    """The median of its last fifth; NaN where it is empty."""
    return level(curve[-_window(curve) :])


def level(curve: Curve) -> float:
    """The median; NaN where it is empty."""
    return median(value for _, value in curve) if curve else math.nan


def has_risen(curve: Curve, epoch: int) -> bool:
    """Whether mAP has gained since that epoch more than chance makes of it; one of which nothing is known has not."""
    return len(curve) > 0 and last(curve) - around(curve, epoch) >= RISE


def smoothed(curve: Curve) -> Curve:
    """Each value replaced by the median of itself and its two neighbours; the ends, without them, are left out."""
    values = [value for _, value in curve]
    return tuple((curve[i][0], median(values[i - 1 : i + 2])) for i in range(1, len(curve) - 1))


def fall(before: float, after: float) -> float:
    """How much lower it is after, as a share; negative where it rose, 0 where nothing can be said."""
    share = 1 - after / before if before > 0 else math.nan
    return share if math.isfinite(share) else 0.0


def reversals(curve: Curve, size: float) -> tuple[int, ...]:
    """The epochs at which it turns by at least `size`, as a share of its value, both before and after.

    A trend has none, however steep, nor has a single step.
    """
    steps = [_step(before, after) for (_, before), (_, after) in pairwise(curve)]
    turns = zip(curve[1:], steps, steps[1:], strict=False)
    return tuple(point[0] for point, one, two in turns if one * two < 0 and min(abs(one), abs(two)) >= size)


def broken(values: Mapping[str, float] | None) -> list[str]:
    """The names of those that are NaN or infinite."""
    return [name for name, value in (values or {}).items() if not math.isfinite(value)]


def _step(before: float, after: float) -> float:
    lower, higher = sorted((before, after))
    change = higher / lower - 1 if lower > 0 else 0.0
    return math.copysign(min(change, 1e9), after - before)


def _window(curve: Sequence[object]) -> int:
    return max(_LEAST_WINDOW, len(curve) // _WINDOW_SHARE)


def _total(run: Run, losses: Iterable[tuple[int, Mapping[str, float]]]) -> Curve:
    """The sum of those losses that are known, in the epochs that have them all."""
    known = [(epoch, {name: parts[name] for name in run.columns.losses if name in parts}) for epoch, parts in losses]
    whole = max((len(parts) for _, parts in known), default=0)
    return _curve((epoch, sum(parts.values())) for epoch, parts in known if parts and len(parts) == whole)


def _curve(points: Iterable[tuple[int, float]]) -> Curve:
    return tuple((epoch, value) for epoch, value in points if math.isfinite(value))
