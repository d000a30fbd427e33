"""Fit starting points into a space: configurations that are tried before the search proposes its own."""

from collections.abc import Mapping, Sequence

from tuner.contract import ParamValue
from tuner.search.warm_start import Candidate, Misfit, Start, fit
from tuner.space import ARGUMENTS, ChoiceParameter, Space, StartPoint, UnfitError

SHARE = 8
"""One in this many trials may be a starting point, those of a warm start included."""

_WARM_UP = ("warmup_epochs", "warmup_momentum", "warmup_bias_lr")
_SCHEDULE = frozenset(("optimizer", "lr0", "lrf", "cos_lr", "momentum", "weight_decay", *_WARM_UP))
"""Arguments that mean little without the optimizer and the learning rate that they were found with."""

_NEAR = 2.0
"""Factor up to which a learning rate counts as that of the starting point."""


def start_points(space: Space, earlier: Sequence[Start] = ()) -> tuple[Start, ...]:
    """Return the configurations of a space's starting points, in their order, as many as the trials allow.

    A point sets only parameters that the space searches; the others, and choices that the space lacks, keep their
    default. Numbers are clipped to their range. Points that are then equal to the default or to each other are left
    out.

    Args:
        space: Space, with its starting points and number of trials.
        earlier: Configurations that are tried before them.
    """
    room = max(space.settings.trials // SHARE - len(earlier), 0)
    known: list[Mapping[str, ParamValue]] = [space.baseline_sampled(), *(start.configuration for start in earlier)]
    found: list[Start] = []
    for point in space.settings.start_points:
        start = _start(space, point)
        if isinstance(start, Start) and start.configuration not in known:
            known.append(start.configuration)
            found.append(start)
    return tuple(found[:room])


def _start(space: Space, point: StartPoint) -> Start | Misfit:
    values = {name: value for name, value in point.values.items() if _is_possible(space, name, value)}
    start = fit(space, Candidate(values=values, origin=point.origin))
    if isinstance(start, Misfit) or _has_schedule_of(point, space.resolve(start.configuration)):
        return start
    rest = {name: value for name, value in values.items() if name not in _SCHEDULE}
    return fit(space, Candidate(values=rest, origin=point.origin))


def _is_possible(space: Space, name: str, value: ParamValue) -> bool:
    """Check whether the value of a choice is among its choices; numbers are always possible."""
    choices = [p for p in space.searched if p.name == name and isinstance(p, ChoiceParameter)]
    return not choices or any(_has(choice, value) for choice in choices)


def _has(parameter: ChoiceParameter, value: ParamValue) -> bool:
    try:
        parameter.fitted(value)
    except UnfitError:
        return False
    return True


def _has_schedule_of(point: StartPoint, params: Mapping[str, ParamValue]) -> bool:
    """Check whether a configuration has a point's optimizer and learning rate, without which the rest means nothing."""
    known = {name: params.get(name, ARGUMENTS[name].default) for name in ("optimizer", "lr0")}
    wanted = {**known, **point.values}
    ratio = float(known["lr0"] or 0) / float(wanted["lr0"] or 1)
    return known["optimizer"] == wanted["optimizer"] and 1 / _NEAR <= ratio <= _NEAR
