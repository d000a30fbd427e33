"""Set the values of each parameter against the result: one slice per parameter, and all of them on parallel axes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from optuna.trial import TrialState

from tuner.contract import ParamValue
from tuner.report.page.records.importance import last_value
from tuner.report.page.records.parameters import Axis, shown
from tuner.report.page.records.subject import Role, Subject
from tuner.space import name_of
from tuner.study import TrialRecord

_BEST_SHARE = 0.1
_FEWEST_BEST = 5
_NEAR_END = 0.12
"""Distance from an end of an axis below which a tick would collide with that of the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlicePoint:
    """Trial in a slice."""

    trial: int
    role: Role
    parameter: ParamValue
    value: float
    """Last value of the trial."""
    is_complete: bool
    """True if the trial ran to the last epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Result of all trials by one parameter."""

    metric: str
    axis: Axis
    points: tuple[SlicePoint, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """Labelled position on an axis."""

    place: float
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelAxis:
    """Axis of the parallel coordinates."""

    label: str
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParallelLine:
    """Trial across all axes."""

    trial: int
    role: Role
    value: float
    """Last value of the trial."""
    is_best: bool
    """True if the trial is among the best tenth."""
    places: tuple[float | None, ...]
    """Position on each axis, 0..1; None if the trial does not have the parameter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parallel:
    """Parallel coordinates: the most important parameters, then the result."""

    metric: str
    axes: tuple[ParallelAxis, ...]
    lines: tuple[ParallelLine, ...]
    """Lines in drawing order: the winner and the default are last."""


def slice_of(subject: Subject, trials: Sequence[TrialRecord], axis: Axis) -> Slice | None:
    """Return the slice of one parameter; None if no trial with a value has it. The default and the winner are last."""
    points = [
        SlicePoint(
            trial=trial.number,
            role=subject.role(trial.number),
            parameter=trial.sampled[axis.label],
            value=value,
            is_complete=trial.state == TrialState.COMPLETE,
        )
        for trial in trials
        if axis.label in trial.sampled and (value := last_value(trial)) is not None
    ]
    points.sort(key=lambda point: (point.role != Role.OTHER, point.role == Role.WINNER))
    return Slice(metric=subject.metric, axis=axis, points=tuple(points)) if points else None


def parallel_of(subject: Subject, trials: Sequence[TrialRecord], axes: Sequence[Axis]) -> Parallel | None:
    """Return the parallel coordinates; None with fewer than two parameters or trials.

    Args:
        subject: Shared facts of the study.
        trials: All trials.
        axes: Parameters in the order of the axes; the variants of one parameter share an axis.
    """
    merged = _merged(axes)
    valued = [(trial, value) for trial in trials if (value := last_value(trial)) is not None]
    if len(merged) < 2 or len(valued) < 2:
        return None
    sign = 1 if subject.maximised else -1
    order = sorted((sign * value for _, value in valued), reverse=True)
    limit = order[max(math.ceil(_BEST_SHARE * len(order)), min(_FEWEST_BEST, len(order))) - 1]
    results = [value for _, value in valued]
    result = Axis(label=subject.metric, low=min(results), high=max(results))
    lines = [
        ParallelLine(
            trial=trial.number,
            role=subject.role(trial.number),
            value=value,
            is_best=sign * value >= limit,
            places=(*(_place(axis, trial) for axis in merged), result.place(value)),
        )
        for trial, value in valued
    ]
    lines.sort(key=lambda line: (line.role != Role.OTHER, line.role == Role.WINNER, line.is_best, sign * line.value))
    drawn = tuple(ParallelAxis(label=_described(axis), ticks=tuple(_ticks(axis))) for axis in (*merged, result))
    return Parallel(metric=subject.metric, axes=drawn, lines=tuple(lines))


def _merged(axes: Sequence[Axis]) -> list[Axis]:
    """Join the variants of a parameter to one axis that has room for all of them."""
    joined: dict[str, Axis] = {}
    for axis in axes:
        name = name_of(axis.label)
        known = joined.get(name)
        if known is None:
            joined[name] = replace(axis, label=name)
        elif known.choices or axis.choices:
            choices = tuple(dict.fromkeys((*known.choices, *axis.choices)))
            joined[name] = replace(known, choices=choices)
        else:
            is_log = known.is_log and axis.is_log
            joined[name] = replace(known, low=min(known.low, axis.low), high=max(known.high, axis.high), is_log=is_log)
    return list(joined.values())


def _place(axis: Axis, trial: TrialRecord) -> float | None:
    """Return the position of a trial; a parameter that is fixed under a condition has its fixed value."""
    sampled = {name_of(label): value for label, value in trial.sampled.items()}
    value = sampled.get(axis.label, trial.params.get(axis.label))
    if value is None or (axis.choices and value not in axis.choices):
        return None
    if not axis.choices and (isinstance(value, str) or not axis.low <= float(value) <= axis.high):
        return None
    return axis.place(value)


def _described(axis: Axis) -> str:
    return f"{axis.label} (log)" if axis.is_log else axis.label


def _ticks(axis: Axis) -> Iterator[Tick]:
    if axis.choices:
        yield from (Tick(place=axis.place(choice), label=shown(choice)) for choice in axis.choices)
        return
    yield Tick(place=0.0, label=_number(axis.low))
    for number in _between(axis):
        place = axis.place(number)
        if _NEAR_END < place < 1 - _NEAR_END:
            yield Tick(place=place, label=_number(number))
    yield Tick(place=1.0, label=_number(axis.high))


def _between(axis: Axis) -> list[float]:
    if axis.is_log:
        return [10.0**power for power in range(math.ceil(math.log10(axis.low)), math.floor(math.log10(axis.high)) + 1)]
    return [(axis.low + axis.high) / 2]


def _number(number: float) -> str:
    return f"{number:.3g}"
