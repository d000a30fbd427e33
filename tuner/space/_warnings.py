"""Warn about settings in a space that are allowed but probably unintended."""

from collections.abc import Iterator

from tuner.contract import ParamValue
from tuner.space._arguments import ADAM_FAMILY, ARGUMENTS, listed
from tuner.space._parameters import (
    ChoiceParameter,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Parameter,
)
from tuner.space._rules import values_of
from tuner.space._settings import SearchSettings
from tuner.space._yaml_nodes import Problem

_HIGHEST_LR0 = 0.1
_HIGHEST_PERSPECTIVE = 0.01


def warnings_about(parameters: tuple[Parameter, ...], settings: SearchSettings) -> list[Problem]:
    """Return the warnings, in the order of lines."""
    found = [
        *_learning_rate(parameters),
        *_optimizer_arguments(parameters),
        *_augmentation(parameters),
        *_schedule(parameters, settings),
        *_gaps(parameters),
    ]
    return sorted(found, key=lambda problem: problem.line)


def _named(parameters: tuple[Parameter, ...], name: str) -> list[Parameter]:
    return [parameter for parameter in parameters if parameter.name == name]


def _highest(parameter: Parameter) -> float:
    """Return the largest value of a numeric parameter."""
    match parameter:
        case FloatParameter() | IntParameter():
            return parameter.high
        case ChoiceParameter():
            return max(float(value) for value in parameter.choices)
        case FixedParameter():
            return float(parameter.value)
    raise AssertionError(parameter)


def _optimizers_of(parameter: Parameter, parameters: tuple[Parameter, ...]) -> set[ParamValue]:
    """Return the optimizers under which a parameter has a value."""
    optimizers = values_of(parameters, "optimizer")
    if optimizers is None:
        optimizers = [p.value for p in _named(parameters, "optimizer") if isinstance(p, FixedParameter)]
    named = [set(c.values) for c in parameter.when if c.parameter == "optimizer"]
    return set(optimizers).intersection(*named)


def _learning_rate(parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    for lr0 in _named(parameters, "lr0"):
        if _highest(lr0) > _HIGHEST_LR0:
            text = f"`{lr0.label}` reaches {_highest(lr0):g}: training rarely converges above {_HIGHEST_LR0}"
            yield Problem(line=lr0.line, text=text)
        if isinstance(lr0, FloatParameter) and not lr0.log:
            yield Problem(
                line=lr0.line,
                text=f"`{lr0.label}` is searched linearly: most trials get a large value; add `log: true`",
            )


def _optimizer_arguments(parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    reasons = {
        "lr0": "the Adam family needs a value about ten times smaller",
        "momentum": "for the Adam family it is beta1",
    }
    for name, reason in reasons.items():
        for parameter in _named(parameters, name):
            optimizers = _optimizers_of(parameter, parameters)
            is_searched = not isinstance(parameter, FixedParameter)
            if is_searched and optimizers & ADAM_FAMILY and optimizers - ADAM_FAMILY:
                yield Problem(
                    line=parameter.line,
                    text=f"`{parameter.label}` is shared by {listed(sorted(map(str, optimizers)))}: "
                    f"{reason}; add a variant with `when` for each",
                )
    for parameter in _named(parameters, "warmup_momentum"):
        optimizers = _optimizers_of(parameter, parameters)
        if optimizers and optimizers <= ADAM_FAMILY:
            yield Problem(
                line=parameter.line,
                text=f"`{parameter.label}` has no effect: the Adam family does not warm up momentum",
            )


def _augmentation(parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    for parameter in _named(parameters, "copy_paste"):
        if _highest(parameter) > 0:
            yield Problem(
                line=parameter.line,
                text="`copy_paste` has an effect only on polygon labels; leave it out for boxes",
            )
    for parameter in _named(parameters, "perspective"):
        if _highest(parameter) > _HIGHEST_PERSPECTIVE:
            yield Problem(
                line=parameter.line,
                text=f"`perspective` reaches {_highest(parameter):g}: 0.001 is usual, and above "
                f"{_HIGHEST_PERSPECTIVE} images are distorted beyond recognition",
            )
    for parameter in _named(parameters, "rect"):
        if not isinstance(parameter, FixedParameter) or parameter.value is True:
            yield Problem(
                line=parameter.line,
                text="`rect` switches mosaic and shuffling off; leave it out for training",
            )


def _schedule(parameters: tuple[Parameter, ...], settings: SearchSettings) -> Iterator[Problem]:
    rungs = settings.rung_epochs
    for parameter in _named(parameters, "warmup_epochs"):
        if rungs and _highest(parameter) >= rungs[0] + settings.has_default_rungs:  # a default one may end the warm-up
            yield Problem(
                line=parameter.line,
                text=f"`warmup_epochs` reaches {_highest(parameter):g}, but trials are compared from epoch "
                f"{rungs[0]}, some of them during their warm-up; start with a later rung or shorten the warm-up",
            )
    close = _named(parameters, "close_mosaic")
    default = ARGUMENTS["close_mosaic"].default
    assert isinstance(default, int)
    last = max((_highest(parameter) for parameter in close), default=float(default))
    if last >= settings.epochs and not _is_off(parameters, "mosaic"):
        yield Problem(
            line=close[0].line if close else 0,
            text=f"`close_mosaic` is up to {last:g} of {settings.epochs} epochs, so trials may train "
            "without mosaic, mixup and copy_paste; lower it or train longer",
        )
    if settings.sampler == "gp" and rungs:
        yield Problem(
            line=0,
            text="the sampler gp ignores trials stopped early and may propose them again; "
            "use tpe, or write `rungs: []` to train every trial to its end",
        )
    if settings.promote_epochs < settings.epochs:
        yield Problem(
            line=0,
            text=f"`promote_epochs` is {settings.promote_epochs}, but trials train {settings.epochs} epochs: "
            "the final run would be shorter than the trials; raise it",
        )


def _is_off(parameters: tuple[Parameter, ...], name: str) -> bool:
    return any(isinstance(p, FixedParameter) and p.value == 0 and not p.when for p in _named(parameters, name))


def _gaps(parameters: tuple[Parameter, ...]) -> Iterator[Problem]:
    """Warn about values of a choice for which a parameter with variants has no variant."""
    for name in dict.fromkeys(parameter.name for parameter in parameters):
        variants = _named(parameters, name)
        parents = {condition.parameter for variant in variants for condition in variant.when}
        if len(variants) < 2 or len(parents) != 1 or not all(variant.when for variant in variants):
            continue
        parent = parents.pop()
        covered = {value for variant in variants for condition in variant.when for value in condition.values}
        missing = [value for value in values_of(parameters, parent) or [] if value not in covered]
        if missing:
            yield Problem(
                line=variants[0].line,
                text=f"`{name}` has no variant under {parent}={listed(missing)}: ultralytics' default "
                f"({ARGUMENTS[name].default}) applies there",
            )
