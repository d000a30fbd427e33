"""Arguments that several verbs share, and what they mean."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.exceptions import DataError, MachineError, UsageError
from tuner.execution.watchdog import HangTimeouts
from tuner.system.paths import checked_path

if TYPE_CHECKING:
    from tuner.study import StoredStudy, StudyPaths
    from tuner.workflows.options import Machines

STORAGE_VARIABLE = "TUNE_STORAGE"

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name, as `tune status` lists it.")]
Home = Annotated[Path, typer.Option(envvar="TUNE_HOME", help="The folder that holds the studies.")]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar=STORAGE_VARIABLE,
        help="Database URL; by default an SQLite file in the study's folder. Put one with a password in the "
        "environment variable, where other users cannot read it.",
    ),
]
Gpus = Annotated[
    int | None, typer.Option(min=0, help="GPUs to use, one a trial; 0: the CPU. Default: all that there are.")
]
Parallel = Annotated[int | None, typer.Option(min=1, help="Trials at once. Default: one a GPU, or one a core.")]
Address = Annotated[str | None, typer.Option(help="Join a running Ray cluster: auto, or host:port.")]
Trainer = Annotated[
    str | None,
    typer.Option(envvar="TUNE_TRAINER", help="Command of a trainer of your own that speaks tuner.contract."),
]
HangAfter = Annotated[
    float,
    typer.Option(
        min=1.0,
        metavar="SECONDS",
        help="A trainer silent for longer, and for longer than five epochs, is killed as hung and started again.",
    ),
]
StartWithin = Annotated[
    float, typer.Option(min=1.0, metavar="SECONDS", help="The same, for everything up to the end of the first epoch.")
]
DataNow = Annotated[
    str | None, typer.Option("--data", help="Where the data set of the study lies now, if it was moved.")
]
ModelNow = Annotated[
    str | None, typer.Option("--model", help="Where the model of the study lies now, if it was moved.")
]
DEFAULT_HOME = Path("studies")


def machines(
    gpus: int | None,
    parallel: int | None,
    address: str | None,
    trainer: str | None,
    hang_after: float,
    start_within: float,
) -> "Machines":
    """Where and how to train, from the options."""
    from tuner.workflows.options import Machines

    hang_timeouts = HangTimeouts(least_s=hang_after, start_s=start_within)
    command = trainer_command(trainer)
    return Machines(gpus=gpus, parallel=parallel, address=address, trainer=command, hang_timeouts=hang_timeouts)


def trainer_command(trainer: str | None) -> tuple[str, ...]:
    """What starts a trainer: the user's command, or ours."""
    return tuple(shlex.split(trainer)) if trainer else (sys.executable, "-m", "trainer", "serve")


def storage_url(storage: str | None, paths: "StudyPaths") -> str:
    """The study's database. Its address leaves the environment: what this process starts has no need of it."""
    from tuner.storage.database import sqlite_url

    os.environ.pop(STORAGE_VARIABLE, None)
    return storage or sqlite_url(paths.database)


def open_study(name: str, home: Path, storage: str | None) -> "tuple[StoredStudy, StudyPaths]":
    """An existing study and its folder.

    Raises:
        UsageError: there is none of that name.
    """
    from tuner.study import StoredStudy, StudyPaths

    paths = StudyPaths.of(home, name)
    try:
        return StoredStudy.open(storage_url(storage, paths), name, paths.root), paths
    except UsageError as error:
        if storage is None or not paths.database.exists():
            raise
        raise UsageError(
            f"{error} There is one in '{paths.database}': for that, leave --storage and {STORAGE_VARIABLE} out."
        ) from error


def hide_password(arguments: list[str]) -> None:
    """Begin this process anew where its command line shows a database's password to every user of the machine.

    The password moves to the environment, which only its owner can read. Ray, too, keeps the command line.
    """
    for place, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        url = value or "".join(arguments[place + 1 : place + 2])
        if name == "--storage" and _has_password(url):
            rest = arguments[:place] + arguments[place + (1 if value else 2) :]
            interpreter = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
            os.execve(sys.executable, [*interpreter, *rest], {**os.environ, STORAGE_VARIABLE: url})


def _has_password(url: str) -> bool:
    from tuner.storage.database import has_password

    return has_password(url)


def data_source(source: str | None) -> str:
    """An absolute path, or the name of the sample data set as it is.

    Raises:
        UsageError: no data set is named, neither by option nor by file.
        DataError: there is no such file.
    """
    if source is None:
        raise UsageError(
            "A data set must be named: --data my/dataset.yaml, or --data sample for the sample that comes with tune."
        )
    if source == "sample" or source.startswith("sample:"):
        return source
    path = Path(checked_path("--data", source)).absolute()
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        raise DataError(f"--data must be the YAML file of a data set, but there is no '{path}'.")
    return str(path)


def chosen_model(given: str | None, data: str, trainer: Sequence[str], tell: Callable[[str], None]) -> str:
    """The model that is named, or else the one that the trainer's data check advises, which is told.

    Raises:
        DataError: no model is named, and the data set cannot be checked or must not be trained on.
        MachineError: no model is named, and the trainer does not work or does not check data.
    """
    if given is not None:
        return model_source(given)
    from tuner.workflows.data_check import advised_model

    try:
        advice = advised_model(data, trainer)
    except MachineError as error:
        raise MachineError(f"{error} Or name the model with --model.") from error
    tell(f"model  {advice.choice} is chosen by the data check: {advice.why}; --model takes another")
    return advice.choice


def model_source(given: str) -> str:
    """An absolute path where there is such a file, so that it means the same in any folder; else the name as it is."""
    name = checked_path("--model", given)
    return str(Path(name).absolute()) if os.path.isfile(name) else name  # noqa: PTH113 - as above


def commands_prefix() -> str:
    """What to put before `tune` and `yolo` so that a shell finds those of this environment; "" when it does anyway."""
    folder = Path(sys.executable).parent
    found = shutil.which("tune")
    if found is not None and Path(found).parent == folder:
        return ""
    here = Path.cwd()
    return f"{folder.relative_to(here) if folder.is_relative_to(here) else folder}/"


def terminal_is_dumb() -> bool:
    """Whether a live view would be in the way."""
    return os.environ.get("TERM") == "dumb" or "NO_COLOR" in os.environ
