"""What the devices' memory has no room for: measured before a search, and learnt from the trials that ran out of it."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.contract import ParamValue
from tuner.space import ARGUMENTS, ChoiceParameter, FixedParameter, IntParameter, Space
from tuner.study import TrialRecord
from tuner.trials.retry_policy import Failure

BATCH, IMGSZ = "batch", "imgsz"
"""The parameters that decide how much memory a given model needs."""

NOTHING_FITS = "even the smallest batch and image size of the space run out of memory"


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryLimits:
    """Batch and picture sizes that are known to be too much: these, and everything at least as large in both."""

    too_large: tuple[tuple[int, int], ...] = ()
    """(batch, imgsz) of what ran out of memory."""

    def exclude(self, params: Mapping[str, ParamValue]) -> bool:
        """Whether a configuration is known not to fit."""
        batch, imgsz = sizes_of(params)
        return any(batch >= too_large and imgsz >= at for too_large, at in self.too_large)

    def exclude_all_of(self, space: Space) -> bool:
        """Whether nothing in the space is known to have a chance."""
        return self.exclude(smallest_sizes(space))

    def __str__(self) -> str:
        return ", ".join(f"batch {batch} at imgsz {imgsz}" for batch, imgsz in self.too_large)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a few steps with the larger sizes of a space showed before the search."""

    device: str
    """As trainers name it."""
    limits: MemoryLimits

    @classmethod
    def of(cls, rehearsal: Mapping[str, Any]) -> "Measured | None":
        """As a study's record has it, under `memory`, from `asdict`; none where it has nothing."""
        noted = rehearsal.get("memory")
        if noted is None:
            return None
        pairs = tuple((batch, imgsz) for batch, imgsz in noted["limits"]["too_large"])
        return cls(device=noted["device"], limits=MemoryLimits(too_large=pairs))


def measured_limits(space: Space, fits: Callable[[int, int], bool]) -> MemoryLimits:
    """Which sizes of a space are too large, by trying: one measurement where all fit, few where not.

    Ranges are tried at their ends and at halves of the larger one. A space of one batch and imgsz is not measured: its
    first trial finds out as fast.

    Args:
        fits: whether a few steps with that batch and imgsz run; taken to be monotone in both.
    """
    fits = functools.cache(fits)
    batches, sizes = _candidates(space, BATCH), _candidates(space, IMGSZ)
    if len(batches) * len(sizes) == 1 or fits(batches[-1], sizes[-1]):
        return MemoryLimits()
    too_large: list[tuple[int, int]] = []
    for imgsz in sizes:  # the larger the pictures, the fewer batches are left that fit
        while batches and not fits(batches[-1], imgsz):
            too_large.append((batches.pop(), imgsz))
    return MemoryLimits(too_large=tuple(sorted(pair for pair in too_large if not _is_implied(pair, too_large))))


def memory_limits(trials: Iterable[TrialRecord], device: str, measured: Measured | None = None) -> MemoryLimits:
    """What these trials of one study, so of one model and data set, taught about a device.

    Args:
        device: as trainers name it; "" for whichever it was.
        measured: what was known before the first of them.
    """
    found = {
        sizes_of(trial.params)
        for trial in trials
        if trial.attributes.get("failure") == Failure.OUT_OF_MEMORY
        and device in ("", trial.attributes.get("device", ""))
    }
    if measured is not None and device in ("", measured.device):
        found.update(measured.limits.too_large)
    return MemoryLimits(too_large=tuple(sorted(found)))


def sizes_of(params: Mapping[str, ParamValue]) -> tuple[int, int]:
    """Batch and imgsz of a configuration: ultralytics' own where it names none."""
    return _size(params, BATCH), _size(params, IMGSZ)


def _size(params: Mapping[str, ParamValue], name: str) -> int:
    value = params.get(name, ARGUMENTS[name].default)
    assert isinstance(value, int), "spaces take whole numbers only"
    return value


def smallest_sizes(space: Space) -> dict[str, ParamValue]:
    """The smallest batch and picture size of a space."""
    return {name: _candidates(space, name)[0] for name in (BATCH, IMGSZ)}


def _candidates(space: Space, name: str) -> list[int]:
    """Values of a size in a space, rising: every choice; of a range both ends and halves of the larger one."""
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


def _halves(parameter: IntParameter) -> Iterator[ParamValue]:
    value = parameter.high
    while value > parameter.low:
        yield parameter.nearest(value)
        value //= 2


def _is_implied(pair: tuple[int, int], pairs: Iterable[tuple[int, int]]) -> bool:
    """Whether another one says the same of more."""
    return any(other != pair and other[0] <= pair[0] and other[1] <= pair[1] for other in pairs)
