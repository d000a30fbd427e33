"""Arguments that several verbs share, and what they mean."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.paths import StudyPaths
from tuner.run import Machines
from tuner.study import Study

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name, as `tune status` lists it.")]
Home = Annotated[Path, typer.Option(envvar="TUNE_HOME", help="The folder that holds the studies.")]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar="TUNE_STORAGE",
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
DEFAULT_HOME = Path("studies")


def machines(gpus: int | None, parallel: int | None, address: str | None, trainer: str | None) -> Machines:
    """Where to train, from the options."""
    command = shlex.split(trainer) if trainer else [sys.executable, "-m", "trainer", "serve"]
    return Machines(gpus=gpus, parallel=parallel, address=address, trainer=tuple(command))


def storage_url(storage: str | None, paths: StudyPaths) -> str:
    """The study's database."""
    return storage or f"sqlite:///{paths.database}"


def open_study(name: str, home: Path, storage: str | None) -> tuple[Study, StudyPaths]:
    """An existing study and its folder.

    Raises:
        UsageError: there is none of that name.
    """
    paths = StudyPaths.of(home, name)
    return Study.open(storage_url(storage, paths), name), paths


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
