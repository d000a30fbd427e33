"""Encode a space as a unit cube, with one dimension for each searched parameter; variants count separately."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space._arguments import UnfitError
from tuner.space._parameters import ChoiceParameter, FixedParameter, FloatParameter, IntParameter, SearchedParameter
from tuner.space._space import Space
from tuner.unit_cube import Cube, Dimension

_INACTIVE = 0.5
_DIGITS = 12
"""Significant digits of decoded values, which removes the rounding errors of encoding: 0.01 stays 0.01."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """The mapping of one parameter's values into 0..1 and back."""

    place: Callable[[ParamValue], float]
    value: Callable[[float], ParamValue]
    """Inverse of `place`, for any place in 0..1; several places may map to the same value."""


class UnitCube:
    """Conversion of configurations to points of the unit cube, and back.

    The i-th of k choices maps to (i + 0.5) / k, a number to its relative position between low and high, on a
    logarithmic scale for a logarithmic range. Dimensions without a value are 0.5. Decoding rounds to the nearest step
    or whole number. The point of a configuration decodes to the same configuration, to 12 digits of a range, and that
    encodes to the same point.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._axes = {parameter.label: _axis(parameter) for parameter in space.searched}
        self.labels: tuple[str, ...] = tuple(self._axes)
        """Labels of the searched parameters, in the order of the dimensions and of the space."""
        self.choices: tuple[int, ...] = tuple(
            len(parameter.choices) if isinstance(parameter, ChoiceParameter) else 0 for parameter in space.searched
        )
        """Number of values of each dimension; 0 for a range."""
        self.conditions: tuple[tuple[tuple[int, frozenset[int]], ...], ...] = tuple(
            tuple(_conditions(parameter, space)) for parameter in space.searched
        )
        """Conditions of each dimension: pairs of an earlier dimension and its choices under which this one has a value;
        all must hold. Conditions on a parameter that has variants itself are left out."""

    @property
    def cube(self) -> Cube:
        """Dimensions without names and values."""
        pairs = zip(self.choices, self.conditions, strict=True)
        return Cube(tuple(Dimension(choices=choices, when=when) for choices, when in pairs))

    def point(self, sampled: Mapping[str, ParamValue]) -> NDArray[np.float64]:
        """Encode a configuration as a point.

        Args:
            sampled: the values of the active searched parameters, by label.

        Raises:
            SpaceError: a value does not belong to this space.
        """
        point = np.full(len(self.labels), _INACTIVE)
        for label, value in sampled.items():
            if label not in self._axes:
                raise SpaceError(
                    f"A point has a dimension for each searched parameter, but {label!r} is not one of them."
                )
            try:
                point[self.labels.index(label)] = self._axes[label].place(value)
            except UnfitError as unfit:
                raise SpaceError(f"A point must be inside the space, but {label}={value!r} {unfit}.") from unfit
        return point

    def sampled(self, point: NDArray[np.float64]) -> dict[str, ParamValue]:
        """Decode a point to a configuration for `Space.resolve`: the active searched parameters by label.

        Args:
            point: finite numbers; values outside 0..1 are clipped.
        """
        places = dict(zip(self.labels, np.clip(point, 0.0, 1.0).tolist(), strict=True))
        params: dict[str, ParamValue] = {}
        sampled: dict[str, ParamValue] = {}
        for parameter in self._space.parameters:
            if not parameter.is_active(params):
                continue
            if isinstance(parameter, FixedParameter):
                params[parameter.name] = parameter.value
            else:
                value = self._axes[parameter.label].value(places[parameter.label])
                params[parameter.name] = sampled[parameter.label] = value
        return sampled


def _conditions(parameter: SearchedParameter, space: Space) -> Iterator[tuple[int, frozenset[int]]]:
    for condition in parameter.when:
        variants = [other for other in space.parameters if other.name == condition.parameter]
        if len(variants) == 1 and isinstance(variants[0], ChoiceParameter):
            allowed = (i for i, choice in enumerate(variants[0].choices) if choice in condition.values)
            yield space.searched.index(variants[0]), frozenset(allowed)


def _axis(parameter: SearchedParameter) -> _Axis:
    match parameter:
        case ChoiceParameter():
            return _choice_axis(parameter)
        case FloatParameter():
            return _float_axis(parameter) if parameter.step is None else _stepped_axis(parameter, parameter.step)
        case IntParameter(log=False):
            return _stepped_axis(parameter, parameter.step or 1)
        case IntParameter():
            return _log_int_axis(parameter)
    raise AssertionError(f"no dimension for {type(parameter).__name__}")


def _choice_axis(parameter: ChoiceParameter) -> _Axis:
    number = len(parameter.choices)
    kinds = [(type(choice), choice) for choice in parameter.choices]  # 1 is not True

    def place(value: ParamValue) -> float:
        fitted = parameter.fitted(value)
        return (kinds.index((type(fitted), fitted)) + 0.5) / number

    return _Axis(place, lambda place: parameter.choices[min(int(place * number), number - 1)])


def _stepped_axis(parameter: FloatParameter | IntParameter, step: float) -> _Axis:
    # In decimal, so that 0.1 plus two steps of 0.1 is 0.3.
    low, high, width = (Decimal(str(number)) for number in (parameter.low, parameter.high, step))
    steps = round((high - low) / width)
    kind = int if isinstance(parameter, IntParameter) else float

    def place(value: ParamValue) -> float:
        fitted = float(parameter.fitted(value))
        return (fitted - parameter.low) / (parameter.high - parameter.low)

    return _Axis(place, lambda place: kind(low + math.floor(place * steps + 0.5) * width))


def _float_axis(parameter: FloatParameter) -> _Axis:
    low, high = parameter.low, parameter.high
    decimals = _DIGITS - math.ceil(math.log10(max(abs(low), abs(high))))

    def place(value: ParamValue) -> float:
        number = float(parameter.fitted(value))
        return _log_place(number, low, high) if parameter.log else (number - low) / (high - low)

    def value(place: float) -> float:
        if place in (0.0, 1.0):
            return high if place else low
        if parameter.log:
            number = float(f"{_from_log_place(place, low, high):.{_DIGITS}g}")
        else:
            number = round(low + place * (high - low), decimals)
        return min(max(number, low), high)

    return _Axis(place, value)


def _log_int_axis(parameter: IntParameter) -> _Axis:
    low, high = parameter.low, parameter.high

    def value(place: float) -> int:
        return min(max(round(_from_log_place(place, low, high)), low), high)

    return _Axis(lambda value: _log_place(float(parameter.fitted(value)), low, high), value)


def _log_place(number: float, low: float, high: float) -> float:
    return math.log(number / low) / math.log(high / low)


def _from_log_place(place: float, low: float, high: float) -> float:
    return low * math.exp(place * math.log(high / low))
