"""Check the rules between parameters: conditions, the search as a whole, and the baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

from tuner.contract import ParamValue
from tuner.space._arguments import ARGUMENTS, UnfitError, listed, nearest, shown
from tuner.space._augmentation import WEAK
from tuner.space._parameters import (
    ChoiceParameter,
    FixedParameter,
    Parameter,
    SearchedParameter,
)
from tuner.space._yaml_nodes import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenValue:
    """A value of the baseline, not checked yet."""

    line: int
    value: ParamValue | None


def in_order(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Sort parameters after the parents in their conditions, then by name, independent of the order in a file.

    Raises:
        CycleError: the conditions form a cycle.
    """
    by_name: dict[str, list[Parameter]] = {}
    for parameter in sorted(parameters, key=lambda p: (p.name, p.label)):
        by_name.setdefault(parameter.name, []).append(parameter)
    needs = {
        name: sorted({parent for variant in variants for parent in variant.parents if parent in by_name})
        for name, variants in by_name.items()
    }
    return [variant for name in TopologicalSorter(needs).static_order() for variant in by_name[name]]


def values_of(parameters: Sequence[Parameter], name: str) -> list[ParamValue] | None:
    """Return all values of a choice over its variants, or None if the parameter is not a choice."""
    variants = [parameter for parameter in parameters if parameter.name == name]
    if not any(isinstance(variant, ChoiceParameter) for variant in variants):
        return None
    values: list[ParamValue] = []
    for variant in variants:
        match variant:
            case ChoiceParameter():
                values.extend(variant.choices)
            case FixedParameter():
                values.append(variant.value)
            case _:
                return None
    return values


def parameter_problems(parameters: Sequence[Parameter], unreadable: set[str], line: int) -> list[Problem]:
    """List the problems between parameters, without those that could not be read."""
    problems = [
        Problem(line=parameter.line, text=text)
        for parameter in parameters
        for text in _condition_problems(parameter, parameters, unreadable)
    ]
    if not problems:
        problems.extend(_overlaps(parameters))
    try:
        in_order(parameters)
    except CycleError as error:
        names = " -> ".join(error.args[1])
        first = min(p.line for p in parameters if p.name in error.args[1])
        text = f"conditions must not form a cycle, but got {names}; remove one of these conditions"
        problems.append(Problem(line=first, text=text))
    return [*problems, *_whole_problems(parameters, unreadable, line)]


def _condition_problems(parameter: Parameter, parameters: Sequence[Parameter], unreadable: set[str]) -> Iterator[str]:
    for condition in parameter.when:
        other = condition.parameter
        if other in unreadable:
            continue
        values = values_of(parameters, other)
        if values is None:
            given = "is not a choice" if any(p.name == other for p in parameters) else "is not in this space"
            yield (
                f"`{parameter.name}`: a condition must name a choice of this space, but `{other}` {given}; "
                f"search it as `{other}: {{choice: [..]}}` or remove the condition"
            )
            continue
        for value in condition.values:
            if value not in values:
                yield (
                    f"`{parameter.name}`: a condition must name a possible value of `{other}`, but got "
                    f"{shown(value)}; choose from {listed(values)}"
                )


def _overlaps(parameters: Sequence[Parameter]) -> list[Problem]:
    return [
        Problem(
            line=second.line,
            text=f"`{first.name}`: variants must exclude each other by a condition on one parameter, but "
            f"got {_when_text(first)} (line {first.line}) and {_when_text(second)}; assign each value to one variant",
        )
        for first, second in combinations(parameters, 2)
        if first.name == second.name and not _exclude_each_other(first, second)
    ]


def _when_text(parameter: Parameter) -> str:
    return " and ".join(map(str, parameter.when)) or "no condition"


def _exclude_each_other(first: Parameter, second: Parameter) -> bool:
    return any(
        one.parameter == other.parameter and not set(one.values) & set(other.values)
        for one in first.when
        for other in second.when
    )


def _whole_problems(parameters: Sequence[Parameter], unreadable: set[str], line: int) -> Iterator[Problem]:
    if "optimizer" not in unreadable and not any(p.name == "optimizer" for p in parameters):
        yield Problem(
            line=line,
            text="`parameters` must name the optimizer, but it is missing, and ultralytics' default (auto) "
            "ignores lr0 and momentum; add `optimizer: SGD` or search {choice: [SGD, AdamW]}",
        )
    if not unreadable and not any(isinstance(p, SearchedParameter) for p in parameters):
        yield Problem(
            line=line,
            text="`parameters` must search at least one parameter, but all are fixed; "
            "give one a range, such as `lr0: {float: [0.001, 0.1], log: true}`",
        )


def checked_baseline(
    parameters: Sequence[Parameter], given: Mapping[str, GivenValue], unreadable: set[str], line: int
) -> tuple[dict[str, ParamValue], list[Problem]]:
    """Return the baseline's values of its active searched parameters, and its problems.

    Conditions must come before the parameters that depend on them, as `in_order` sorts them.
    """
    check = _BaselineCheck(given, line)
    for parameter in parameters:
        if any(name in unreadable or name in check.failed for name in (parameter.name, *parameter.parents)):
            check.failed.add(parameter.name)
        elif parameter.is_active(check.params):
            check.take(parameter)
    check.refuse_leftovers(parameters, unreadable)
    return check.searched, check.problems


class _BaselineCheck:
    def __init__(self, given: Mapping[str, GivenValue], line: int) -> None:
        self.params: dict[str, ParamValue] = {}
        self.searched: dict[str, ParamValue] = {}
        self.problems: list[Problem] = []
        self.failed: set[str] = set()
        self._given = given
        self._line = line

    def take(self, parameter: Parameter) -> None:
        value = self._value(parameter)
        if value is None:
            self.failed.add(parameter.name)
            return
        self.params[parameter.name] = value
        if isinstance(parameter, SearchedParameter):
            self.searched[parameter.name] = value

    def refuse_leftovers(self, parameters: Sequence[Parameter], unreadable: set[str]) -> None:
        names = {parameter.name for parameter in parameters}
        for name, given in self._given.items():
            if name in self.params or name in self.failed or name in unreadable:
                continue
            if name in names:
                text = f"baseline: `{name}` is not active under the baseline's choices; leave it out"
            elif name in WEAK and "augmentation_strength" in names:
                text = f"baseline: `{name}` follows from augmentation_strength here; leave it out"
            else:
                near = nearest(name, names)
                remedy = f"did you mean {near}?" if near else "leave it out, or add it to `parameters`"
                text = f"baseline: only searched parameters have a value, but got {shown(name)}; {remedy}"
            self.problems.append(Problem(line=given.line, text=text))

    def _value(self, parameter: Parameter) -> ParamValue | None:
        given = self._given.get(parameter.name)
        if isinstance(parameter, FixedParameter):
            return self._fixed_value(parameter, given)
        assert isinstance(parameter, SearchedParameter)
        if given is None:
            example = _example(parameter)
            self._refuse(
                self._line,
                f"baseline: every searched parameter needs a value, but `{parameter.label}` has none; "
                f"add `{parameter.name}: {example}`",
            )
            return None
        try:
            value = ARGUMENTS[parameter.name].checked(given.value)
        except UnfitError as unfit:
            self._refuse(given.line, f"baseline: {unfit}")
            return None
        try:
            return parameter.fitted(value)
        except UnfitError as unfit:
            self._refuse(
                given.line,
                f"baseline: a value must be inside the space, but {parameter.name}={shown(value)} {unfit}; "
                "change it or widen the space",
            )
            return None

    def _fixed_value(self, parameter: FixedParameter, given: GivenValue | None) -> ParamValue:
        if given is not None and given.value != parameter.value:
            self._refuse(
                given.line,
                f"baseline: `{parameter.name}` is fixed to {shown(parameter.value)}, but got "
                f"{shown(given.value)}; leave it out of the baseline or search it",
            )
        return parameter.value

    def _refuse(self, line: int, text: str) -> None:
        self.problems.append(Problem(line=line, text=text))


def _example(parameter: SearchedParameter) -> str:
    default = ARGUMENTS[parameter.name].default
    if default is not None:
        try:
            return shown(parameter.fitted(default)).strip("'")
        except UnfitError:
            pass
    return f"<{parameter.values_text()}>"
