"""Parameters of a search space: fixed, or drawn from a range or a list, optionally under conditions."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from tuner.contract import ParamValue
from tuner.space._arguments import UnfitError, listed, shown

if TYPE_CHECKING:  # Optuna takes long to import, and most readers of a space do not search it
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


def name_of(label: str) -> str:
    """Return the name of a parameter from its label (see `Parameter.label`)."""
    return label.partition(" [")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition that another parameter has one of these values."""

    parameter: str
    values: tuple[ParamValue, ...]

    def holds(self, params: Mapping[str, ParamValue]) -> bool:
        """Check whether the condition holds; False if the other parameter is itself inactive."""
        return self.parameter in params and params[self.parameter] in self.values

    def __str__(self) -> str:
        return f"{self.parameter}={'|'.join(shown(value).strip(chr(39)) for value in self.values)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter(ABC):
    """A parameter or a variant of it: variants share a name, and their conditions exclude each other."""

    name: str
    """Name of the argument in ultralytics."""
    when: tuple[Condition, ...] = ()
    """Conditions that must all hold; empty for a parameter that is always active."""
    line: int = field(default=0, compare=False)
    """Line number in the file; 0 without a file."""

    @property
    def label(self) -> str:
        """Name in the records of a study, unique for each variant: `lr0 [optimizer=SGD]`."""
        return f"{self.name} [{', '.join(map(str, self.when))}]" if self.when else self.name

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the parameters in the conditions."""
        return tuple(condition.parameter for condition in self.when)

    def is_active(self, params: Mapping[str, ParamValue]) -> bool:
        """Check whether the parameter has a value, given the values of others by plain name."""
        return all(condition.holds(params) for condition in self.when)

    def problems(self) -> list[str]:
        """List the problems of this parameter alone, independent of others."""
        return []

    @abstractmethod
    def values_text(self) -> str:
        """Describe the possible values in words."""

    def canonical(self) -> dict[str, object]:
        """Return everything that defines the parameter, for JSON."""
        when = {condition.parameter: list(condition.values) for condition in self.when}
        return {"name": self.name, **self._form(), "when": when}

    @abstractmethod
    def _form(self) -> dict[str, object]:
        """Return the possible values, for JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedParameter(Parameter):
    """A parameter with the same value in every trial in which it is active."""

    value: ParamValue

    def values_text(self) -> str:
        return f"fixed {shown(self.value)}"

    def _form(self) -> dict[str, object]:
        return {"fixed": self.value}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchedParameter(Parameter):
    """A parameter whose value the sampler chooses."""

    @abstractmethod
    def distribution(self) -> "BaseDistribution":
        """Return the range as an Optuna distribution."""

    @abstractmethod
    def suggest(self, trial: "Trial") -> ParamValue:
        """Ask the trial's sampler for a value, which is recorded under `label`."""

    @abstractmethod
    def fitted(self, value: ParamValue) -> ParamValue:
        """Check a value and return it as this parameter stores it.

        Raises:
            UnfitError: the value is outside the range, or between two steps.
        """

    @abstractmethod
    def nearest(self, value: ParamValue) -> ParamValue:
        """Return the possible value nearest to another value.

        Raises:
            UnfitError: no possible value is near it.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class _Range(SearchedParameter):
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def problems(self) -> list[str]:
        found = []
        if self.low >= self.high:
            found.append(
                f"`{self.name}`: low must be below high, but got [{self.low!r}, {self.high!r}]; "
                + (f"write {self.low!r} to fix it" if self.low == self.high else "swap them")
            )
        if self.log and self.low <= 0:
            found.append(
                f"`{self.name}`: a logarithmic range must start above 0, but got low={self.low!r}; "
                "start at a small positive number or leave `log` out"
            )
        if self.log and self.step is not None:
            found.append(f"`{self.name}`: `log` and `step` exclude each other, but both are given; leave one out")
        elif self.step is not None and self.low < self.high:
            found.extend(self._step_problems(self.step))
        return found

    def fitted(self, value: ParamValue) -> ParamValue:
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            raise UnfitError(f"is outside {self.values_text()}")
        if self.step is not None:
            steps = (value - self.low) / self.step
            if abs(steps - round(steps)) > 1e-8:
                raise UnfitError(f"is between two steps of {self.values_text()}")
        return value

    def _nearest(self, value: ParamValue) -> float:
        if isinstance(value, bool | str) or not math.isfinite(value):
            raise UnfitError(f"is not a number in {self.values_text()}")
        inside = min(max(value, self.low), self.high)
        if self.step is None:
            return inside
        # In decimal, so that 0.1 plus two steps of 0.1 is 0.3.
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return float(low + round((Decimal(str(inside)) - low) / step) * step)

    def values_text(self) -> str:
        suffix = " (log)" if self.log else "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.low:g}..{self.high:g}{suffix}"

    def _step_problems(self, step: float) -> list[str]:
        if not math.isfinite(step) or step <= 0:
            return [f"`{self.name}`: `step` must be above 0, but got {step!r}; leave it out to allow any value"]
        # In decimal, because 0.3 is not a multiple of 0.1 in binary.
        width = Decimal(str(self.high)) - Decimal(str(self.low))
        whole_steps = width // Decimal(str(step))
        if width == whole_steps * Decimal(str(step)):
            return []
        last = float(Decimal(str(self.low)) + whole_steps * Decimal(str(step)))
        return [
            f"`{self.name}`: `step` must divide the range, but got step={step:g} for "
            f"[{self.low:g}, {self.high:g}]; end at {last:g} or choose another step"
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatParameter(_Range):
    """A real number from low to high, including both."""

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def nearest(self, value: ParamValue) -> ParamValue:
        return self._nearest(value)

    def suggest(self, trial: "Trial") -> ParamValue:
        return trial.suggest_float(self.label, self.low, self.high, log=self.log, step=self.step)

    def _form(self) -> dict[str, object]:
        return {"float": [self.low, self.high], "log": self.log, "step": self.step}


@dataclass(frozen=True, kw_only=True, slots=True)
class IntParameter(_Range):
    """A whole number from low to high, including both."""

    low: int
    high: int
    step: int | None = None

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log, step=self.step or 1)

    def nearest(self, value: ParamValue) -> ParamValue:
        return round(self._nearest(value))

    def suggest(self, trial: "Trial") -> ParamValue:
        return trial.suggest_int(self.label, self.low, self.high, log=self.log, step=self.step or 1)

    def _form(self) -> dict[str, object]:
        return {"int": [self.low, self.high], "log": self.log, "step": self.step or 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class ChoiceParameter(SearchedParameter):
    """A choice from a list of unordered values."""

    choices: tuple[ParamValue, ...]

    def problems(self) -> list[str]:
        if not self.choices:
            return [f"`{self.name}`: `choice` must not be empty; list two or more values"]
        found = []
        repeated = sorted({shown(value) for value in self.choices if self._count(value) > 1})
        if repeated:
            found.append(f"`{self.name}`: a value may be listed once, but got {', '.join(repeated)} again")
        if len(self.choices) == 1:
            value = shown(self.choices[0]).strip("'")
            found.append(f"`{self.name}`: a choice needs two or more values, but got only {value}; "
                         f"write `{self.name}: {value}` to fix it")  # fmt: skip
        return found

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.choices)

    def suggest(self, trial: "Trial") -> ParamValue:
        return trial.suggest_categorical(self.label, self.choices)  # type: ignore[return-value]

    def fitted(self, value: ParamValue) -> ParamValue:
        for choice in self.choices:
            if type(choice) is type(value) and choice == value:
                return choice
        raise UnfitError(f"is not one of {listed(self.choices)}")

    def nearest(self, value: ParamValue) -> ParamValue:
        return self.fitted(value)

    def values_text(self) -> str:
        return listed(self.choices)

    def _form(self) -> dict[str, object]:
        return {"choice": list(self.choices)}

    def _count(self, value: ParamValue) -> int:
        return sum(type(other) is type(value) and other == value for other in self.choices)
