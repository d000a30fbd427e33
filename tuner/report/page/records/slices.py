"""Set the values of each parameter against the result: one slice per parameter, and all of them on parallel axes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from optuna.trial import TrialState

from tuner.contract import ParamValue
from tuner.report.page.records.endings import ending_of
from tuner.report.page.records.parameters import Axis, shown
from tuner.report.page.records.subject import Role, Subject, finite
from tuner.space import name_of
from tuner.study import TrialRecord

_BEST_SHARE = 0.1
_FEWEST_BEST = 20
"""Of the complete trials, the best tenth stand out, or so many if that is more."""
_NEAR_END = 0.12
"""Distance from an end of an axis below which a tick would collide with that of the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SlicePoint:
    """Trial in a slice."""

    trial: int
    role: Role
    parameter: ParamValue
    value: float | None
    """Value after the last epoch; None if the trial did not get there."""
    ending: str


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
    value: float | None
    """Value after the last epoch; None if the trial did not get there."""
    is_best: bool
    """True if the trial is among the best complete ones."""
    places: tuple[float | None, ...]
    """Position on each axis, 0..1; None if the trial does not have the parameter or the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parallel:
    """Parallel coordinates: the most important parameters, then the result."""

    metric: str
    axes: tuple[ParallelAxis, ...]
    lines: tuple[ParallelLine, ...]
    """Lines in drawing order: the winner and the default are last."""


def slice_of(subject: Subject, trials: Sequence[TrialRecord], axis: Axis) -> Slice | None:
    """Return the slice of one parameter; None if no complete trial has it. The default and the winner are last.

    Values of trials that ended early would mislead: they are lower because those trials trained less.
    """
    points = [
        SlicePoint(
            trial=trial.number,
            role=subject.role(trial.number),
            parameter=trial.sampled[axis.label],
            value=_final(trial),
            ending=ending_of(trial),
        )
        for trial in trials
        if axis.label in trial.sampled
    ]
    if all(point.value is None for point in points):
        return None
    points.sort(key=lambda point: _prominence(point.role))
    return Slice(metric=subject.metric, axis=axis, points=tuple(points))


def parallel_of(subject: Subject, trials: Sequence[TrialRecord], axes: Sequence[Axis]) -> Parallel | None:
    """Return the parallel coordinates; None with fewer than two parameters or complete trials.

    Args:
        subject: Shared facts of the study.
        trials: All trials.
        axes: Parameters in the order of the axes; the variants of one parameter share an axis.
    """
    merged = _merged(axes)
    values = sorted((value for trial in trials if (value := _final(trial)) is not None), reverse=subject.maximised)
    if len(merged) < 2 or len(values) < 2:
        return None
    limit = values[min(len(values), max(_FEWEST_BEST, math.ceil(_BEST_SHARE * len(values)))) - 1]
    result = Axis(label=subject.metric, low=min(values), high=max(values))
    lines = [_line(subject, trial, merged, result, limit) for trial in trials if trial.sampled]
    # The best are drawn over the rest, and among them the best last.
    sign = 1 if subject.maximised else -1
    lines.sort(key=lambda line: (_prominence(line.role), line.is_best, sign * (line.value or 0.0)))
    drawn = tuple(ParallelAxis(label=_described(axis), ticks=tuple(_ticks(axis))) for axis in (*merged, result))
    return Parallel(metric=subject.metric, axes=drawn, lines=tuple(lines))


def _line(subject: Subject, trial: TrialRecord, axes: Sequence[Axis], result: Axis, limit: float) -> ParallelLine:
    value = _final(trial)
    return ParallelLine(
        trial=trial.number,
        role=subject.role(trial.number),
        value=value,
        is_best=value is not None and subject.better(value, limit) == value,
        places=(*(_place(axis, trial) for axis in axes), None if value is None else result.place(value)),
    )


def _prominence(role: Role) -> int:
    return (Role.OTHER, Role.DEFAULT, Role.WINNER).index(role)


def _final(trial: TrialRecord) -> float | None:
    return finite(trial.value) if trial.state == TrialState.COMPLETE else None


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
