"""Track sizes that do not fit into memory: measured before a search, and learned from trials that ran out of memory."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tuner.contract import ParamValue
from tuner.space import ARGUMENTS, ChoiceParameter, FixedParameter, IntParameter, Space
from tuner.study import MemoryFacts, TrialRecord
from tuner.trials.retry_policy import Failure

BATCH, IMGSZ = "batch", "imgsz"
"""Parameters that determine the memory of a given model."""

_EQUAL_SHARE = 1e-3
"""Shares that differ by less are equal: that of a trial is a mean, and rounded."""

NOTHING_FITS = "even the smallest batch and image size of the space run out of memory"


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryLimits:
    """Batch and image sizes known not to fit: the listed pairs, and all pairs at least as large in both."""

    too_large: tuple[tuple[int, int], ...] = ()
    """Pairs (batch, imgsz) that ran out of memory."""

    def exclude(self, params: Mapping[str, ParamValue]) -> bool:
        """Check whether a configuration is known not to fit."""
        batch, imgsz = sizes_of(params)
        return any(batch >= too_large and imgsz >= at for too_large, at in self.too_large)

    def exclude_all_of(self, space: Space) -> bool:
        """Check whether all configurations of the space are known not to fit."""
        return self.exclude(smallest_sizes(space))

    def __str__(self) -> str:
        return ", ".join(f"batch {batch} at imgsz {imgsz}" for batch, imgsz in self.too_large)


def measured_limits(space: Space, fits: Callable[[int, int], bool]) -> MemoryLimits:
    """Measure which sizes of a space are too large: one measurement if all fit, otherwise a few.

    Ranges are tried at both ends and at repeated halves of the upper end. A space with a single batch and imgsz is not
    measured, because its first trial shows the result just as fast.

    Args:
        space: Search space.
        fits: Trains a few steps with a batch and imgsz, and returns whether they fit; assumed monotonic in both.
    """
    fits = functools.cache(fits)
    batches, sizes = sizes_in(space, BATCH), sizes_in(space, IMGSZ)
    if len(batches) * len(sizes) == 1 or fits(batches[-1], sizes[-1]):
        return MemoryLimits()
    too_large: list[tuple[int, int]] = []
    for imgsz in sizes:  # larger images leave room for fewer batches
        while batches and not fits(batches[-1], imgsz):
            too_large.append((batches.pop(), imgsz))
    return MemoryLimits(too_large=tuple(sorted(pair for pair in too_large if not _is_implied(pair, too_large))))


def memory_limits(
    trials: Iterable[TrialRecord],
    devices: Collection[str],
    measured: MemoryFacts | None = None,
    *,
    gpu_share: float = 1.0,
) -> MemoryLimits:
    """Return the memory limits that the trials of one study show for devices of one or several kinds.

    A trial may land on any of the devices, so what did not fit on one of them is too large. Sizes that did not fit into
    a smaller share of a device may fit into a larger one.

    Args:
        trials: Trials of one study, and so of one model and data set.
        devices: Devices, as trainers name them; empty for any.
        measured: Limits measured before the first trial; None if there are none.
        gpu_share: Share of a device that trials have now, 0..1.
    """
    found = {
        sizes_of(trial.params)
        for trial in trials
        if trial.facts.failure == Failure.OUT_OF_MEMORY
        and (not devices or trial.facts.device in devices)
        and holds_for(1.0 if trial.facts.gpu_share is None else trial.facts.gpu_share, gpu_share)
    }
    is_here = measured is not None and (not devices or measured.device in devices)
    if measured is not None and is_here and holds_for(measured.gpu_share, gpu_share):
        found.update(measured.too_large)
    return MemoryLimits(too_large=tuple(sorted(found)))


def holds_for(known_share: float, share: float) -> bool:
    """Check whether sizes that do not fit into one share of a device do not fit into another one."""
    return share < known_share + _EQUAL_SHARE


def sizes_of(params: Mapping[str, ParamValue]) -> tuple[int, int]:
    """Return batch and imgsz of a configuration; ultralytics' defaults if it does not set them."""
    return _size(params, BATCH), _size(params, IMGSZ)


def _size(params: Mapping[str, ParamValue], name: str) -> int:
    value = params.get(name, ARGUMENTS[name].default)
    assert isinstance(value, int), "spaces take whole numbers only"
    return value


def smallest_sizes(space: Space) -> dict[str, ParamValue]:
    """Return the smallest batch and image size of a space."""
    return {name: sizes_in(space, name)[0] for name in (BATCH, IMGSZ)}


def sizes_in(space: Space, name: str) -> list[int]:
    """List values of a size in a space, ascending: every choice; both ends of a range and halves of its upper end."""
    found: set[ParamValue] = set()
    for parameter in space.parameters:
        if parameter.name != name:
            continue
        if isinstance(parameter, FixedParameter):
            found.add(parameter.value)
        elif isinstance(parameter, ChoiceParameter):
            found.update(parameter.choices)
        elif isinstance(parameter, IntParameter):
            found.update((parameter.low, *_halves(parameter)))
    return sorted(value for value in found if isinstance(value, int)) or [_size({}, name)]


def image_sizes_of(space: Space) -> list[int]:
    """List every image size that a configuration of the space may have, ascending."""
    found: set[int] = set(sizes_in(space, IMGSZ))
    for parameter in space.parameters:
        if parameter.name == IMGSZ and isinstance(parameter, IntParameter):
            found.update(range(parameter.low, parameter.high + 1, parameter.step or 1))
    return sorted(found)


def _halves(parameter: IntParameter) -> Iterator[ParamValue]:
    value = parameter.high
    while value > parameter.low:
        yield parameter.nearest(value)
        value //= 2


def _is_implied(pair: tuple[int, int], pairs: Iterable[tuple[int, int]]) -> bool:
    """Check whether another pair already covers this one."""
    return any(other != pair and other[0] <= pair[0] and other[1] <= pair[1] for other in pairs)
