"""Read a file of training arguments, as `tune export` and ultralytics write it, for one training run.

`tuner.space.TABLE` and docs/arguments.md define how each argument is treated.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tuner.contract import ParamValue, run_folder
from tuner.diagnosis.remedies import RESTART_EPOCHS, RESTART_LR0
from tuner.exceptions import SpaceError, UsageError
from tuner.space import (
    ADAM_FAMILY,
    ARGUMENTS,
    REFUSED,
    SHIPPED_SPACES,
    TABLE,
    Argument,
    Fate,
    Kind,
    Scalar,
    UnfitError,
    YamlMapping,
    foreign_names,
    foreign_text,
    implausible,
    load_space,
    meant_argument,
    normalised,
    read_tree,
    sentence,
    setting_of,
    unknown_argument,
)
from tuner.space import Sequence as YamlSequence

_MAX_BYTES = 1 << 20
_WHOLE_NUMBERS = {"epochs": 1, "patience": 0, "seed": 0}
"""Arguments of a run that are not hyper-parameters, with their minimum."""

_DISTILLATION = Argument(name="dis", kind=Kind.FLOAT, default=6.0)
"""Weight of the distillation loss; only a full run uses it."""

_TOLD = frozenset({"close_mosaic", "freeze", "imgsz", "multi_scale"})
"""Arguments whose normalised value can differ from the written one, which deserves a note."""

_OF_THE_FIRST = frozenset({"hide_labels", "image_weights", "line_thickness", "min_memory", "v5loader"})
"""Arguments that only the first ultralytics 8.0 has; there, `pretrained: false` was the default and had no effect."""

_RANDOM_WEIGHTS = "-untrained.pt"
"""File name suffix of a model with random weights, which `tune export` names for a plain `yolo` command."""

_File = Mapping[str, ParamValue | Sequence[ParamValue | None] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameters:
    """Arguments of a training run; None, or missing from `params`, if not given."""

    params: Mapping[str, ParamValue] = field(default_factory=dict)
    """Hyper-parameters by ultralytics' names; missing ones have ultralytics' defaults."""
    model: str | None = None
    data: str | None = None
    epochs: int | None = None
    seed: int | None = None
    notes: tuple[str, ...] = ()
    """Notes on arguments that were ignored or read differently than written, one line each."""
    source: str = ""
    """Name of the file, for messages."""


def default_parameters() -> Parameters:
    """Return the training guide's configuration, the default of the shipped space `medium_aug`."""
    space = load_space(SHIPPED_SPACES / "medium_aug.yaml")
    return Parameters(params=space.resolve(space.baseline_sampled()), epochs=space.settings.promote_epochs)


def read_parameters(file: Path, *, overridden: Collection[str] = ()) -> Parameters:
    """Read and check a file of training arguments.

    Args:
        file: Path of the file.
        overridden: Arguments given on the command line; they are not checked in the file.

    Raises:
        SpaceError: The file cannot be read, or arguments are refused; one line each.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise SpaceError(f"{file}: cannot be read ({error.strerror}); check its name and permissions.") from error
    except UnicodeDecodeError as error:
        raise SpaceError(f"{file}: not UTF-8 text; save the file as UTF-8.") from error
    return parameters_of(text, str(file), overridden=overridden)


def parameters_of(text: str, source: str, *, overridden: Collection[str] = ()) -> Parameters:
    """Parse and check the text of a file of training arguments.

    Args:
        text: Content of the file.
        source: Name of the file, for messages.
        overridden: Arguments given on the command line; they are not checked in the text.

    Raises:
        SpaceError: Arguments are refused; one line each.
    """
    if foreign := foreign_text(text):
        raise SpaceError(f"{source}:1: {foreign}.")
    root, problems = read_tree(text)
    said = [f"{source}:{problem.line}: {problem.text}." for problem in problems]
    if not isinstance(root, YamlMapping):
        said = said or [f"{source}:1: the file must list arguments, one per line, such as `lr0: 0.01`."]
        raise SpaceError("\n".join(said))
    values: dict[str, ParamValue | Sequence[ParamValue | None] | None] = {}
    for name, node in root.entries.items():
        if isinstance(node, Scalar):
            values[name] = node.value
        elif isinstance(node, YamlSequence):
            values[name] = tuple(item.value if isinstance(item, Scalar) else None for item in node.items)
        else:
            values[name] = (None,)  # a mapping has no single value
    if foreign := foreign_names(values):
        raise SpaceError(f"{source}:1: {foreign}.")
    reading = _Reading(values, overridden)
    for name, node in root.entries.items():
        try:
            reading.take(name)
        except UnfitError as unfit:
            said.append(sentence(f"{source}:{node.line}: {unfit}"))
    if said:
        raise SpaceError("\n".join(said))
    return replace(_sorted(reading.given), notes=reading.notes(source), source=source)


class _Reading:
    """Reader that takes, ignores or refuses the arguments of a file as the table defines."""

    def __init__(self, values: _File, overridden: Collection[str]) -> None:
        self.given: dict[str, ParamValue] = {}
        self._values = values
        self._overridden = overridden
        self._passed_over: dict[str, list[str]] = {}
        self._read_as: list[str] = []

    def take(self, name: str) -> None:
        """Take or ignore an argument.

        Raises:
            UnfitError: The argument is refused.
        """
        value = self._values[name]
        row = TABLE.get(name)
        if name in self._overridden:
            return
        if row is None:
            raise UnfitError(_unknown(name))
        if row.is_untouched(value):
            if name == "pretrained":
                self._check_start(value)
        elif row.fate is Fate.TAKEN:
            assert value is not None
            self._take(name, value)
        elif row.fate is Fate.PASSED_OVER:
            self._passed_over.setdefault(row.says, []).append(name)
        elif name == "pretrained":
            self._check_start(value)
        elif not (name == "resume" and "model" in self._overridden):
            raise UnfitError(f"`{name}` {row.says}")

    def notes(self, source: str) -> tuple[str, ...]:
        """Return notes for the user, one line each."""
        passed = [f"{', '.join(names)} ({says})" for says, names in self._passed_over.items() if says]
        told = [f"ignored in {source}: {'; '.join(passed)}"] if passed else []
        return (*told, *self._read_as, *implausible(self.given))

    def _take(self, name: str, value: ParamValue | Sequence[ParamValue | None]) -> None:
        taken = normalised(name, value)
        self.given[name] = _checked(name, taken)
        if name in _TOLD and taken != value:
            shown = list(value) if isinstance(value, tuple) else str(value).lower()
            self._read_as.append(f"{name} {shown} is read as {taken}")

    def _check_start(self, pretrained: object) -> None:
        """Check that `pretrained` agrees with `model`, which names the weights or YAML that training starts from.

        Raises:
            UnfitError: `pretrained` names another start.
        """
        model = self._values.get("model")
        if "model" in self._overridden or pretrained is True or pretrained is None:
            return
        if isinstance(pretrained, str) and pretrained not in ("None", model):
            raise UnfitError(
                f"`pretrained` names the weights to start from; pass them as the model: --model {pretrained}"
            )
        from_weights = isinstance(model, str) and model.endswith(".pt") and not model.endswith(_RANDOM_WEIGHTS)
        if pretrained is False and from_weights and not _OF_THE_FIRST & self._values.keys():
            raise UnfitError(
                f"`pretrained: false` starts {model} from random weights; pass its YAML with --model, or pass "
                f"--model {model} to start from its weights"
            )


def overridden(parameters: Parameters, settings: Sequence[str]) -> Parameters:
    """Override parameters with arguments from the command line, such as `lr0=0.005`.

    Raises:
        SpaceError: Arguments are invalid; one line each.
    """
    given: dict[str, ParamValue] = {}
    said = []
    for setting in settings:
        try:
            name, value = setting_of(setting)
            if name in REFUSED and name not in _WHOLE_NUMBERS and name not in ("model", "data"):
                raise UnfitError(f"`{name}` {REFUSED[name]}")
            if name not in TABLE or TABLE[name].fate is not Fate.TAKEN:
                raise UnfitError(_unknown(name))
            given[name] = _checked(name, value if name == "imgsz" else normalised(name, value))
        except UnfitError as unfit:
            said.append(sentence(str(unfit)))
    if said:
        raise SpaceError("\n".join(said))
    new = _sorted(given)
    return replace(
        parameters,
        params={**parameters.params, **new.params},
        model=new.model or parameters.model,
        data=new.data or parameters.data,
        epochs=new.epochs or parameters.epochs,
        seed=parameters.seed if new.seed is None else new.seed,
    )


def require_optimizer(parameters: Parameters) -> None:
    """Refuse a configuration whose learning rate ultralytics would ignore.

    Raises:
        SpaceError: The optimizer is missing.
    """
    if "optimizer" not in parameters.params:
        raise SpaceError(
            f"{parameters.source}: `optimizer` must be named, but is missing, and ultralytics' default, auto, ignores "
            "lr0 and momentum; pass --set optimizer=SGD, or the optimizer that these values were found with."
        )


def _unknown(name: str) -> str:
    if name in TABLE or name in ARGUMENTS or name in REFUSED:
        return unknown_argument(name)
    if (said := unknown_argument(name)).startswith("`"):
        return said
    near = meant_argument(name)
    return f"`{name}` is not a training argument of ultralytics; {f'did you mean {near}?' if near else 'leave it out'}"


def _checked(name: str, value: ParamValue) -> ParamValue:
    if name in ("model", "data", "distill_model"):
        if not isinstance(value, str):
            raise UnfitError(f"`{name}` must be text, but got {value!r}; write its name or path")
        return value
    if name in _WHOLE_NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int) or value < _WHOLE_NUMBERS[name]:
            raise UnfitError(f"`{name}` must be a whole number of at least {_WHOLE_NUMBERS[name]}, but got {value!r}")
        return value
    return _DISTILLATION.checked(value) if name == _DISTILLATION.name else ARGUMENTS[name].checked(value)


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


def warm_restart_of(run: Path, *, overridden: Collection[str] = ()) -> Parameters:
    """Return the parameters of a warm restart: the run's best weights and arguments, and a higher learning rate.

    The restart is short. Optimizers of the Adam family use a tenth of the rate.

    Args:
        run: Folder of the stuck run.
        overridden: Arguments given on the command line.

    Raises:
        UsageError: The folder has no weights or no arguments.
        SpaceError: The arguments cannot be read, or are refused.
    """
    weights, file = run / run_folder.WEIGHTS / run_folder.BEST_WEIGHTS, run / run_folder.ARGUMENTS
    for path in (weights, file):
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
            raise UsageError(
                f"--warm-restart takes the folder of a training run, but '{path}' does not exist; check the folder."
            )
    before = read_parameters(file, overridden=(*overridden, "model", "epochs"))
    adam = before.params.get("optimizer") in ADAM_FAMILY
    return replace(
        before,
        params={**before.params, "lr0": RESTART_LR0 / 10 if adam else RESTART_LR0},
        model=str(weights.absolute()),
        epochs=RESTART_EPOCHS,
    )
