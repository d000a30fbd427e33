"""Describe the searched parameters as axes: numbers on a linear or logarithmic scale, or categories."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.contract import ParamValue
from tuner.space import ChoiceParameter, FloatParameter, IntParameter, SearchedParameter, space_of
from tuner.study import ReadableStudy, TrialRecord

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_DECADES_OF_LOG = 2
"""Positive values of another program that span so many powers of ten are shown on a logarithmic scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """Searched parameter, or one variant of it."""

    label: str
    """Name in the space, with the condition of a variant: `lr0 [optimizer=SGD]`."""
    choices: tuple[ParamValue, ...] = ()
    """Categories in the order of the space; empty for numbers."""
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    is_whole: bool = False

    def place(self, value: ParamValue) -> float:
        """Return the position of a value between the ends of the axis, 0..1."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices)
        number = float(value)
        if self.high <= self.low:
            return 0.5
        if self.is_log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def distribution(self) -> "BaseDistribution":
        """Return the axis as a distribution of Optuna."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high), log=self.is_log)
        return FloatDistribution(self.low, self.high, log=self.is_log)


def axes_of(study: ReadableStudy | None, trials: Sequence[TrialRecord]) -> tuple[Axis, ...]:
    """Return the searched parameters that some trial has, in the order of the space.

    Args:
        study: Study that tune created; None for one of another program, whose ranges are those of its trials.
        trials: All trials.
    """
    used = {label for trial in trials for label in trial.sampled}
    known = [] if study is None else [_axis(p) for p in space_of(study.spec.space, name=study.spec.space_name).searched]
    named = {axis.label for axis in known}
    others = sorted(used - named)
    return (*(axis for axis in known if axis.label in used), *(_seen(label, trials) for label in others))


def shown(value: ParamValue) -> str:
    """Return a value as people write it: four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _axis(parameter: SearchedParameter) -> Axis:
    match parameter:
        case ChoiceParameter():
            return Axis(label=parameter.label, choices=parameter.choices)
        case FloatParameter() | IntParameter():
            return Axis(
                label=parameter.label,
                low=parameter.low,
                high=parameter.high,
                is_log=parameter.log,
                is_whole=isinstance(parameter, IntParameter),
            )
    raise AssertionError(f"no axis for {type(parameter).__name__}")


def _seen(label: str, trials: Sequence[TrialRecord]) -> Axis:
    """Return the axis of values that trials have, without a space that says more."""
    values = list(_values(label, trials))
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        return Axis(label=label, choices=tuple(dict.fromkeys(values)))
    low, high = min(numbers), max(numbers)
    is_log = low > 0 and math.log10(high / low) >= _DECADES_OF_LOG
    return Axis(label=label, low=low, high=high, is_log=is_log, is_whole=all(isinstance(v, int) for v in values))


def _values(label: str, trials: Sequence[TrialRecord]) -> Iterator[ParamValue]:
    return (trial.sampled[label] for trial in trials if label in trial.sampled)
