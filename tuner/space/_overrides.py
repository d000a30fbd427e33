"""Parse settings from the command line (`lr0=0.005`), and fix them in a space."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tuner.contract import ParamValue
from tuner.exceptions import SpaceError
from tuner.space._arguments import ARGUMENTS, UnfitError, listed
from tuner.space._parameter_reader import unknown_argument
from tuner.space._parameters import (
    ChoiceParameter,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    SearchedParameter,
)
from tuner.space._rules import in_order, parameter_problems, values_of
from tuner.space._space import Space
from tuner.space._yaml_nodes import Mapping as YamlMapping
from tuner.space._yaml_nodes import Scalar, read_tree

_OWN_OPTIONS = {"epochs": "--epochs", "seed": "--seed", "data": "--data", "model": "--model", "device": "--gpus"}


def setting_of(text: str) -> tuple[str, ParamValue]:
    """Split `name=value` from the command line; the value is parsed as YAML.

    Raises:
        UnfitError: the text has another form.
    """
    name, equals, value = text.partition("=")
    tree, problems = read_tree(f"value: {value}\n")
    node = tree.entries.get("value") if isinstance(tree, YamlMapping) else None
    if not equals or problems or not isinstance(node, Scalar) or node.value is None:
        raise UnfitError(f"--set takes an argument and its value as lr0=0.005, but got '{text}'")
    return name.strip(), node.value


def sentence(text: str) -> str:
    """Append a full stop to a message unless it ends with a question mark."""
    return text if text.endswith("?") else f"{text}."


def with_fixed(space: Space, settings: Sequence[str]) -> Space:
    """Fix parameters for all trials, including the baseline; the last setting wins if a name is repeated.

    A fixed value replaces the space's own parameter, or is added to the space. Parameters that depend on it remain if
    their condition holds. Parameters that become active in the baseline start in the middle of their range, and
    choices at their first value.

    Args:
        space: the space to change.
        settings: settings as `name=value`.

    Raises:
        SpaceError: a setting breaks a rule of spaces, or the space depends on the parameter that it replaces; one line
            for each problem.
    """
    values: dict[str, ParamValue] = {}
    said = []
    for setting in settings:
        try:
            name, value = setting_of(setting)
            values[name] = _checked(name, value)
        except UnfitError as unfit:
            said.append(str(unfit))
    said = said or _problems(space, values)
    if said:
        raise SpaceError("\n".join(map(sentence, said)))
    return _fixed(space, values) if values else space


def _checked(name: str, value: ParamValue) -> ParamValue:
    if name in _OWN_OPTIONS:
        raise UnfitError(f"--set takes a parameter of the space, but got '{name}'; use {_OWN_OPTIONS[name]} instead")
    if name not in ARGUMENTS:
        raise UnfitError(f"--set {name}: {unknown_argument(name)}")
    try:
        return ARGUMENTS[name].checked(value)
    except UnfitError as unfit:
        raise UnfitError(f"--set {name}: {unfit}") from unfit


def _problems(space: Space, values: Mapping[str, ParamValue]) -> list[str]:
    found = []
    for name, value in values.items():
        choices = values_of(space.parameters, name)
        bound = sorted({p.name for p in space.parameters if name in p.parents and p.name not in values})
        if bound and choices is not None and value not in choices:
            found.append(
                f"--set {name}={listed([value])}: {listed(f'`{other}`' for other in bound)} of this space "
                f"{'depends' if len(bound) == 1 else 'depend'} on `{name}`, which must be one of {listed(choices)}; "
                f"choose one of them, or set {listed(bound)} too"
            )
    return found


def _fixed(space: Space, values: Mapping[str, ParamValue]) -> Space:
    """Return the space with these values, checked again by the rules between parameters."""
    parameters, baseline = _reduced(space, values)
    problems = [problem.text for problem in parameter_problems(parameters, set(), 0)]
    if not any(isinstance(p, SearchedParameter) for p in parameters):
        problems = [
            f"nothing is left to search in the space '{space.name}'; remove a setting, or train this one "
            "configuration with `tune train`"
        ]
    if problems:
        settings = " ".join(f"--set {name}={listed([value])}" for name, value in values.items())
        raise SpaceError("\n".join(sentence(f"{settings}: {problem}") for problem in problems))
    return replace(space, parameters=tuple(in_order(parameters)), baseline=baseline)


def _reduced(space: Space, values: Mapping[str, ParamValue]) -> tuple[list[Parameter], dict[str, ParamValue]]:
    """Return the parameters that can still be active, without conditions that always hold, and their baseline."""
    in_old_baseline = _active_in_baseline(space)
    parameters: list[Parameter] = [FixedParameter(name=name, value=value) for name, value in values.items()]
    params, baseline = dict(values), {}
    for old in space.parameters:
        parameter = None if old.name in values else _under(old, parameters)
        if parameter is None:
            continue
        parameters.append(parameter)
        if not parameter.is_active(params):
            continue
        if isinstance(parameter, FixedParameter):
            params[parameter.name] = parameter.value
        elif isinstance(parameter, SearchedParameter):
            known = space.baseline[old.name] if old.label in in_old_baseline else _middle(parameter)
            params[parameter.name] = baseline[parameter.name] = known
    return parameters, baseline


def _active_in_baseline(space: Space) -> set[str]:
    params: dict[str, ParamValue] = {}
    labels = set()
    for parameter in space.parameters:
        if parameter.is_active(params):
            labels.add(parameter.label)
            params[parameter.name] = (
                parameter.value if isinstance(parameter, FixedParameter) else space.baseline[parameter.name]
            )
    return labels


def _under(parameter: Parameter, others: Sequence[Parameter]) -> Parameter | None:
    """Return the parameter with the conditions that the others leave open; None if it can never be active."""
    left = []
    for condition in parameter.when:
        variants = [other for other in others if other.name == condition.parameter]
        possible = [
            value
            for other in variants
            for value in (
                [other.value] if isinstance(other, FixedParameter) else getattr(other, "choices", condition.values)
            )
        ]
        values = tuple(value for value in condition.values if value in possible)
        if not values:
            return None
        settled = len(variants) == 1 and not variants[0].when and isinstance(variants[0], FixedParameter)
        if not settled:
            left.append(replace(condition, values=values))
    return replace(parameter, when=tuple(left))


def _middle(parameter: SearchedParameter) -> ParamValue:
    match parameter:
        case ChoiceParameter():
            return parameter.choices[0]
        case FloatParameter() | IntParameter():
            low, high = parameter.low, parameter.high
            middle = math.sqrt(low * high) if parameter.log else (low + high) / 2
            return parameter.nearest(float(f"{middle:.6g}"))
    raise AssertionError(parameter)
