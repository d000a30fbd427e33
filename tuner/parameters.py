"""A file of training arguments, as `tune export` and ultralytics write them, for one training run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tuner.contract import ParamValue
from tuner.diagnosis.remedies import RESTART_EPOCHS, RESTART_LR0
from tuner.exceptions import SpaceError, UsageError
from tuner.space import (
    ADAM_FAMILY,
    ARGUMENTS,
    AUGMENTATION_STRENGTH,
    REFUSED,
    SHIPPED_SPACES,
    Scalar,
    Unfit,
    YamlMapping,
    load_space,
    meant_argument,
    read_tree,
    setting_of,
)

_MAX_BYTES = 1 << 20
_GONE = ("label_smoothing", "crop_fraction")
"""Arguments that ultralytics had once: whoever names them expects an effect."""

_WHOLE_NUMBERS = {"epochs": 1, "patience": 0, "seed": 0}
"""Arguments of a run that are no hyper-parameters, with their least value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """What to train, as far as it is said."""

    params: Mapping[str, ParamValue] = field(default_factory=dict)
    """By ultralytics' names; those that are not here are ultralytics' defaults."""
    model: str | None = None
    data: str | None = None
    epochs: int | None = None
    seed: int | None = None


def default_parameters() -> Parameters:
    """The training guide's configuration: the default of the shipped space `medium_aug`."""
    space = load_space(SHIPPED_SPACES / "medium_aug.yaml")
    return Parameters(params=space.resolve(space.baseline_sampled()), epochs=space.settings.promote_epochs)


def read_parameters(file: Path) -> Parameters:
    """Read and check such a file. What only says where and how ultralytics was run is passed over.

    Raises:
        SpaceError: it cannot be read, or an argument breaks a rule; one line each.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise SpaceError(f"{file}: cannot be read ({error.strerror}); check its name and permissions.") from error
    except UnicodeDecodeError as error:
        raise SpaceError(f"{file}: not UTF-8 text; save the file as UTF-8.") from error
    root, problems = read_tree(text)
    said = [f"{file}:{problem.line}: {problem.text}." for problem in problems]
    if not isinstance(root, YamlMapping):
        said = said or [f"{file}:1: the file must say arguments, each on a line such as `lr0: 0.01`."]
        raise SpaceError("\n".join(said))
    given: dict[str, ParamValue] = {}
    for name, node in root.entries.items():
        try:
            if not isinstance(node, Scalar):
                raise Unfit(f"`{name}` must be one value, but got a list; write one")
            if node.value is not None and _counts(name):
                given[name] = _checked(name, node.value)
        except Unfit as unfit:
            said.append(f"{file}:{node.line}: {unfit}.")
    if said:
        raise SpaceError("\n".join(said))
    return _sorted(given)


def overridden(parameters: Parameters, settings: Sequence[str]) -> Parameters:
    """With arguments as `lr0=0.005`, from the command line.

    Raises:
        SpaceError: one of them breaks a rule; one line each.
    """
    given: dict[str, ParamValue] = {}
    said = []
    for setting in settings:
        try:
            name, value = setting_of(setting)
            if not _counts(name):
                raise Unfit(f"`{name}` {REFUSED[name]}")
            given[name] = _checked(name, value)
        except Unfit as unfit:
            said.append(f"{unfit}.")
    if said:
        raise SpaceError("\n".join(said))
    new = _sorted(given)
    return replace(
        parameters,
        params={**parameters.params, **new.params},
        epochs=new.epochs or parameters.epochs,
        seed=parameters.seed if new.seed is None else new.seed,
    )


def _counts(name: str) -> bool:
    """Whether the argument says what is learnt; unknown ones do until it is told that they are unknown."""
    return name in ("model", "data", *_WHOLE_NUMBERS, *_GONE) or name not in REFUSED


def _checked(name: str, value: ParamValue) -> ParamValue:
    if name in ("model", "data"):
        if not isinstance(value, str):
            raise Unfit(f"`{name}` must be text, but got {value!r}; write its name or path")
        return value
    if name in _WHOLE_NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int) or value < _WHOLE_NUMBERS[name]:
            raise Unfit(f"`{name}` must be a whole number of at least {_WHOLE_NUMBERS[name]}, but got {value!r}")
        return value
    if name in _GONE:
        raise Unfit(f"`{name}` {REFUSED[name]}")
    if name not in ARGUMENTS or name == AUGMENTATION_STRENGTH:
        near = meant_argument(name)
        remedy = f"did you mean {near}?" if near else "leave it out"
        raise Unfit(f"`{name}` is no training argument of ultralytics; {remedy}")
    return ARGUMENTS[name].checked(value)


def _sorted(given: Mapping[str, ParamValue]) -> Parameters:
    def text(name: str) -> str | None:
        value = given.get(name)
        return None if value is None else str(value)

    def number(name: str) -> int | None:
        value = given.get(name)
        return None if value is None else int(value)

    own = {"model", "data", "epochs", "seed"}
    return Parameters(
        params={name: value for name, value in given.items() if name not in own},
        model=text("model"),
        data=text("data"),
        epochs=number("epochs"),
        seed=number("seed"),
    )


def warm_restart_of(run: Path) -> Parameters:
    """What to train next where a run is stuck: its best weights, its arguments, a higher rate for a short while.

    Adam's kind takes a tenth of the rate.

    Args:
        run: its folder.

    Raises:
        UsageError: there are no weights or no arguments of a run.
        SpaceError: its arguments cannot be read.
    """
    weights, file = run / "weights" / "best.pt", run / "args.yaml"
    for path in (weights, file):
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            raise UsageError(f"--warm-restart takes the folder of a training run, but there is no '{path}'.")
    before = read_parameters(file)
    adam = before.params.get("optimizer") in ADAM_FAMILY
    return replace(
        before,
        params={**before.params, "lr0": RESTART_LR0 / 10 if adam else RESTART_LR0},
        model=str(weights.absolute()),
        epochs=RESTART_EPOCHS,
    )
