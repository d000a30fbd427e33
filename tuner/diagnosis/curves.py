"""Extract the curves of a run, and measure them robustly against single outliers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median

from tuner.diagnosis.columns import scores
from tuner.diagnosis.runs import Run

Curve = tuple[tuple[int, float], ...]
"""(epoch, value) pairs in epoch order; every value is finite."""

CURVE_EPOCHS = 10
"""Minimum number of epochs after the warm-up for judging the shape of a curve."""
RISE = 0.02
"""Gain of mAP (0..1) that counts as a rise; the guide's stuck run gains less, from 0.45 to 0.46 [guide 30]."""
_USUAL_BOX_WEIGHT = 7.5
_MOST_SECONDS = 30 * 86400.0
_LEAST_WINDOW = 3
_WINDOW_SHARE = 5
"""A window is 1/5 of the curve: wide enough for a stable median, narrow enough to describe one end."""


def train_loss(run: Run) -> Curve:
    """Return the sum of the training losses."""
    return _total(run, [(e.epoch, e.train) for e in run.epochs])


def val_loss(run: Run) -> Curve:
    """Return the sum of the validation losses, for epochs that have them."""
    return _total(run, [(e.epoch, e.val or {}) for e in run.epochs])


def box_loss(run: Run) -> Curve:
    """Return the box loss in training, rescaled to the default weight of ultralytics; empty for other kinds of loss."""
    weight = run.number("box", _USUAL_BOX_WEIGHT) or _USUAL_BOX_WEIGHT
    name = run.columns.box
    return _curve((e.epoch, e.train.get(name, math.nan) * _USUAL_BOX_WEIGHT / weight) for e in run.epochs)


def metric(run: Run, name: str) -> Curve:
    """Return the curve of a metric, for epochs that have it."""
    return _curve((e.epoch, (e.metrics or {}).get(name, math.nan)) for e in run.epochs)


def score(run: Run) -> Curve:
    """Return the curve of the metric that shows progress: mAP50 for a detector."""
    return metric(run, scores(run.columns.task)[1])


def since(curve: Curve, epoch: int) -> Curve:
    """Return the part of a curve from an epoch onwards."""
    return tuple(point for point in curve if point[0] >= epoch)


def around(curve: Curve, epoch: int) -> float:
    """Return the median of the values nearest to an epoch, over the window of `last`; NaN if the curve is empty."""
    return level(tuple(sorted(curve, key=lambda point: abs(point[0] - epoch))[: _window(curve)]))


def best(curve: Curve, otherwise: float) -> float:
    """Return the highest value of a curve, or `otherwise` if it is empty."""
    return max((value for _, value in curve), default=otherwise)


def epoch_seconds(run: Run) -> Curve:
    """Return the duration of each epoch in seconds, without implausible values."""
    times = _curve((e.epoch, math.nan if e.seconds is None else e.seconds) for e in run.epochs)
    return tuple(point for point in times if 0 < point[1] <= _MOST_SECONDS)


def judged_from(run: Run) -> int:
    """Return the first epoch at which the shape of a curve can be judged."""
    return run.warm_up_epochs + CURVE_EPOCHS


def first(curve: Curve) -> float:
    """Return the median of the first fifth of a curve; NaN if it is empty."""
    return level(curve[: _window(curve)])


def last(curve: Curve) -> float:
    """Return the median of the last fifth of a curve; NaN if it is empty."""
    return level(curve[-_window(curve) :])


def level(curve: Curve) -> float:
    """Return the median of a curve; NaN if it is empty."""
    return median(value for _, value in curve) if curve else math.nan


def has_risen(curve: Curve, epoch: int) -> bool:
    """Check whether mAP has risen since an epoch by more than chance; False for an empty curve."""
    return len(curve) > 0 and last(curve) - around(curve, epoch) >= RISE


def smoothed(curve: Curve) -> Curve:
    """Replace each value by the median of itself and its two neighbours, and drop both ends."""
    values = [value for _, value in curve]
    return tuple((curve[i][0], median(values[i - 1 : i + 2])) for i in range(1, len(curve) - 1))


def fall(before: float, after: float) -> float:
    """Return the relative decrease; negative for a rise, 0 if it cannot be computed."""
    share = 1 - after / before if before > 0 else math.nan
    return share if math.isfinite(share) else 0.0


def reversals(curve: Curve, size: float) -> tuple[int, ...]:
    """Return the epochs where a curve changes direction, with relative steps of at least `size` before and after.

    A trend has no reversals, however steep; neither has a single step.
    """
    steps = [_step(before, after) for (_, before), (_, after) in pairwise(curve)]
    turns = zip(curve[1:], steps, steps[1:], strict=False)
    return tuple(point[0] for point, one, two in turns if one * two < 0 and min(abs(one), abs(two)) >= size)


def broken(values: Mapping[str, float] | None) -> list[str]:
    """List the names whose values are NaN or infinite."""
    return [name for name, value in (values or {}).items() if not math.isfinite(value)]


def _step(before: float, after: float) -> float:
    lower, higher = sorted((before, after))
    change = higher / lower - 1 if lower > 0 else 0.0
    return math.copysign(min(change, 1e9), after - before)


def _window(curve: Sequence[object]) -> int:
    return max(_LEAST_WINDOW, len(curve) // _WINDOW_SHARE)


def _total(run: Run, losses: Iterable[tuple[int, Mapping[str, float]]]) -> Curve:
    """Return the sum of the known losses, for epochs that have all of them."""
    known = [(epoch, {name: parts[name] for name in run.columns.losses if name in parts}) for epoch, parts in losses]
    whole = max((len(parts) for _, parts in known), default=0)
    return _curve((epoch, sum(parts.values())) for epoch, parts in known if parts and len(parts) == whole)


def _curve(points: Iterable[tuple[int, float]]) -> Curve:
    return tuple((epoch, value) for epoch, value in points if math.isfinite(value))
