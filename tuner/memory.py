"""What the devices' memory has no room for, learnt from the trials that ran out of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tuner.contract import ParamValue
from tuner.failures import Failure
from tuner.space import ChoiceParameter, FixedParameter, FloatParameter, IntParameter, Space
from tuner.study import TrialRecord

BATCH, IMGSZ = "batch", "imgsz"
"""The parameters that decide how much memory a given model needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryLimits:
    """Batch and picture sizes that are known to be too much: these, and everything at least as large in both."""

    too_large: tuple[tuple[float, float], ...] = ()
    """(batch, imgsz) of the trials that ran out of memory."""

    def exclude(self, params: Mapping[str, ParamValue]) -> bool:
        """Whether a configuration is known not to fit. A size that is not chosen yet counts as small enough."""
        batch, imgsz = (params.get(name) for name in (BATCH, IMGSZ))
        if not isinstance(batch, int | float) or not isinstance(imgsz, int | float):
            return False
        return any(batch >= too_large and imgsz >= at for too_large, at in self.too_large)

    def exclude_all_of(self, space: Space) -> bool:
        """Whether nothing in the space is known to have a chance."""
        return self.exclude(smallest_sizes(space))


def memory_limits(trials: Iterable[TrialRecord], device: str) -> MemoryLimits:
    """What these trials of one study, so of one model and data set, taught about a device.

    Args:
        device: as trainers name it; "" for whichever it was.
    """
    found = set()
    for trial in trials:
        if trial.attributes.get("failure") != Failure.OUT_OF_MEMORY:
            continue
        batch, imgsz = trial.params.get(BATCH), trial.params.get(IMGSZ)
        same_device = device in ("", trial.attributes.get("device", ""))
        if same_device and isinstance(batch, int | float) and isinstance(imgsz, int | float):
            found.add((float(batch), float(imgsz)))
    return MemoryLimits(too_large=tuple(sorted(found)))


def smallest_sizes(space: Space) -> dict[str, ParamValue]:
    """The smallest batch and picture size of a space, where it says any."""
    return {name: min(values) for name in (BATCH, IMGSZ) if (values := _least(space, name))}


def _least(space: Space, name: str) -> list[float]:
    least: list[float] = []
    for parameter in space.parameters:
        if parameter.name != name:
            continue
        if isinstance(parameter, FixedParameter):
            values: tuple[ParamValue, ...] = (parameter.value,)
        elif isinstance(parameter, ChoiceParameter):
            values = parameter.choices
        elif isinstance(parameter, FloatParameter | IntParameter):
            values = (parameter.low,)
        least += [float(value) for value in values if isinstance(value, int | float)]
    return least
