"""Define the arguments that several verbs share, and interpret their values."""

import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.artifacts.place import VARIABLE as ARTIFACTS_VARIABLE
from tuner.artifacts.place import checked_place
from tuner.cli import completion
from tuner.contract.locations import is_url
from tuner.exceptions import DataError, MachineError, UsageError
from tuner.execution.watchdog import HangTimeouts
from tuner.system.paths import checked_path

if TYPE_CHECKING:
    from tuner.report.progress import View
    from tuner.study import StoredStudy, StudyPaths
    from tuner.workflows.hooks import Hooks
    from tuner.workflows.options import Machines

STORAGE_VARIABLE = "TUNE_STORAGE"
ON_END_VARIABLE = "TUNE_ON_END"
NOTIFY_VARIABLE = "TUNE_NOTIFY"

StudyName = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="Name of the study, as listed by `tune status`.", autocompletion=completion.study_names
    ),
]
Home = Annotated[Path, typer.Option(envvar="TUNE_HOME", help="Folder that holds the studies.")]
Storage = Annotated[
    str | None,
    typer.Option(
        envvar=STORAGE_VARIABLE,
        help="Database URL. Default: an SQLite file in the study's folder. Put a URL with a password in the "
        "environment variable, where other users cannot read it.",
    ),
]
Gpus = Annotated[
    str | None,
    typer.Option(
        metavar="N|LIST",
        help="Number of GPUs to use, or their indices, such as 0,2,5; 0 trains on the CPU. Default: all GPUs.",
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(min=1, help="Trials to run at once. Default: --trials-per-gpu on each GPU, or one per CPU core."),
]
TrialsPerGpu = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Trials of a search that share a GPU, its memory and its time; auto measures before the search how many "
        "pay. A final run has whole GPUs.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Running Ray cluster to join: auto, or host:port. Default: start Ray on this machine."),
]
Artifacts = Annotated[
    str | None,
    typer.Option(
        envvar=ARTIFACTS_VARIABLE,
        metavar="PATH|URL",
        help="Store for checkpoints, weights and logs of all runs, such as s3://bucket/team, for a cluster whose "
        "machines share no folder. Default: the folder of the study.",
    ),
]
Trainer = Annotated[
    str | None,
    typer.Option(envvar="TUNE_TRAINER", help="Command of your own trainer, which must implement tuner.contract."),
]
HangAfter = Annotated[
    float,
    typer.Option(
        min=1.0,
        metavar="SECONDS",
        help="Kill and restart a trainer that is silent for longer than this and for longer than five epochs.",
    ),
]
StartWithin = Annotated[
    float,
    typer.Option(
        min=1.0,
        metavar="SECONDS",
        help="Kill and restart a trainer that is silent for longer than this before its first epoch has ended.",
    ),
]
OnEnd = Annotated[
    str | None,
    typer.Option(
        envvar=ON_END_VARIABLE,
        metavar="COMMAND",
        help="Shell command to run when the run ends for any reason; TUNE_OUTCOME, TUNE_VERDICT and others describe "
        "the end.",
    ),
]
Notify = Annotated[
    list[str] | None,
    typer.Option(
        envvar=NOTIFY_VARIABLE,
        metavar="URL",
        help="URL to notify when the run ends for any reason: a webhook (http, https), or a service of apprise; may "
        "be repeated.",
    ),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        metavar="TRACKER",
        autocompletion=completion.trackers,
        help="Tracker that logs the study while it runs: tensorboard, mlflow or wandb; may be repeated; none logs "
        "nothing. Overrides the space.",
    ),
]
DataNow = Annotated[str | None, typer.Option("--data", help="New location of the study's data set, if it was moved.")]
ModelNow = Annotated[str | None, typer.Option("--model", help="New location of the study's model, if it was moved.")]
CacheGib = Annotated[
    str,
    typer.Option(
        metavar="GIB",
        help="Maximum size of the decoded images that all runs on a machine share, in GiB; 0 shares none. auto shares "
        "those of the run if they fit into half of the free memory and a fifth of the free disk.",
    ),
]
DEFAULT_HOME = Path("studies")


_SECRETS = {"--storage": STORAGE_VARIABLE, "--notify": NOTIFY_VARIABLE, "--on-end": ON_END_VARIABLE}
"""Options whose values may be secrets, with the environment variables that say the same."""


def machines(
    gpus: str | None,
    parallel: int | None,
    address: str | None,
    trainer: str | None,
    hang_after: float,
    start_within: float,
    cache_gib: str,
    trials_per_gpu: str = "1",
    artifacts: str | None = None,
) -> "Machines":
    """Collect the options that define where and how to train; a list of GPUs hides the others from this process."""
    from tuner.execution.visible_gpus import cannot_share, read_choice
    from tuner.workflows.options import Machines

    sharing = _sharing_trials(trials_per_gpu)
    number = read_choice(gpus, address=address, environment=os.environ)
    if number == 0 and sharing != 1:
        raise cannot_share(sharing)
    return Machines(
        gpus=number,
        trials_per_gpu=sharing,
        parallel=parallel,
        address=address,
        trainer=trainer_command(trainer),
        hang_timeouts=HangTimeouts(least_s=hang_after, start_s=start_within),
        image_cache_bytes=cache_bytes(cache_gib),
        artifacts=checked_place(artifacts) if artifacts else "",
    )


def _sharing_trials(text: str) -> int | None:
    """Read the value of `--trials-per-gpu`; None for auto."""
    from tuner.workflows.options import MOST_PER_GPU

    if text == "auto":
        return None
    number = int(text) if text.isdecimal() and text.isascii() else 0
    if not 1 <= number <= MOST_PER_GPU:
        raise UsageError(
            f"--trials-per-gpu must be auto or a whole number from 1 to {MOST_PER_GPU}, but got '{text}'; leave it out "
            "for one trial per GPU."
        )
    return number


def cache_bytes(gib: str) -> int | None:
    """Return the value of --cache-gib in bytes; None for auto.

    Raises:
        UsageError: it is neither a number of GiB nor auto.
    """
    if gib == "auto":
        return None
    try:
        number = float(gib)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise UsageError(f"--cache-gib must be a number of GiB, 0 to share no images, or auto, but got '{gib}'.")
    return int(number * 2**30)


def trainer_command(trainer: str | None) -> tuple[str, ...]:
    """Return the command that starts a trainer: the user's, or that of the bundled trainer."""
    return tuple(shlex.split(trainer)) if trainer else (sys.executable, "-m", "trainer", "serve")


def hooks_of(on_end: str | None, notify: list[str] | None) -> "Hooks":
    """Check the hooks and take them out of the environment, because no child process of a run needs them.

    Raises:
        UsageError: A URL is not one that can be notified.
        MachineError: A URL needs a package that is not installed.
    """
    from tuner.workflows.hooks import Hooks
    from tuner.workflows.notifications import checked_url

    for variable in (ON_END_VARIABLE, NOTIFY_VARIABLE):
        os.environ.pop(variable, None)
    return Hooks(on_end=on_end or None, notify=tuple(map(checked_url, dict.fromkeys(notify or ()))))


def storage_url(storage: str | None, paths: "StudyPaths") -> str:
    """Return the database URL of the study, and remove it from the environment: child processes do not need it."""
    from tuner.storage.urls import sqlite_url

    os.environ.pop(STORAGE_VARIABLE, None)
    return storage or sqlite_url(paths.database)


def open_study(name: str, home: Path, storage: str | None) -> "tuple[StoredStudy, StudyPaths]":
    """Open an existing study; return it and its paths.

    Raises:
        UsageError: there is no study of that name.
    """
    from tuner.study import StoredStudy, StudyPaths

    paths = StudyPaths.of(home, name)
    try:
        return StoredStudy.open(storage_url(storage, paths), name, paths.root), paths
    except UsageError as error:
        if storage is None or not paths.database.exists():
            raise
        raise UsageError(
            f"{error} '{paths.database}' contains a study of this name; omit --storage and {STORAGE_VARIABLE}."
        ) from error


def without_secrets(arguments: list[str]) -> tuple[str, ...]:
    """Return the arguments without options whose values may be secrets."""
    return tuple(_without_secrets(arguments)[0])


def given_command(context: typer.Context) -> tuple[str, ...]:
    """Return the arguments of this command line, without secrets, as `main` has put them into the context."""
    given = context.find_root().obj
    return given if isinstance(given, tuple) else ()


def hide_secrets(arguments: list[str]) -> None:
    """Restart this process if its command line shows secrets: other users of the machine, and Ray, can read it.

    The secrets move to environment variables, which only the owner of the process can read: a database URL with a
    password, the URLs of webhooks, and the command at the end of a run, which may contain such URLs.
    """
    kept, hidden = _without_secrets(arguments)
    if hidden:
        interpreter = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
        os.execve(sys.executable, [*interpreter, *kept], {**os.environ, **hidden})


def _without_secrets(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return the arguments without secrets, and the environment variables that replace them."""
    kept: list[str] = []
    hidden: dict[str, str] = {}
    rest = list(arguments)
    # All of them or none: an option on the command line hides the variable.
    is_storage_secret = any(map(_has_password, _values_of("--storage", arguments)))
    has_hooks = next((a for a in arguments if not a.startswith("-")), "") in {"run", "promote", "slurm-script"}
    while rest:
        argument = rest.pop(0)
        name, has_value, value = argument.partition("=")
        variable = _SECRETS.get(name)
        if variable is None or not (has_value or rest) or not (has_hooks or variable == STORAGE_VARIABLE):
            kept.append(argument)
            continue
        given = [argument] if has_value else [argument, rest.pop(0)]
        secret = value if has_value else given[1]
        if variable == STORAGE_VARIABLE and not is_storage_secret:
            kept += given
        elif variable != ON_END_VARIABLE and variable in hidden:  # options that may be repeated
            hidden[variable] += f" {secret}"
        else:
            hidden[variable] = secret
    return kept, hidden


def _values_of(option: str, arguments: Sequence[str]) -> list[str]:
    following = [value for name, value in pairwise(arguments) if name == option]
    return following + [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{option}=")]


def _has_password(url: str) -> bool:
    from tuner.storage.urls import has_password

    return has_password(url)


def data_source(source: str | None) -> str:
    """Return the absolute path of a data set; a URL, and the name of the bundled sample data set, unchanged.

    Raises:
        UsageError: neither an option nor a file names a data set, or a URL contains credentials.
        DataError: the path does not exist.
    """
    if source is None:
        raise UsageError(
            "A data set is required, but none is given; add --data my/dataset.yaml, or --data sample for the bundled "
            "sample data set."
        )
    if source == "sample" or source.startswith("sample:"):
        return source
    if is_url(source):
        return checked_place(source, "--data")
    path = Path(checked_path("--data", source)).absolute()
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name that is too long
        raise DataError(
            f"--data must be a data set as YAML file, COCO JSON file or folder with COCO JSON, but '{path}' does not "
            "exist; check the path."
        )
    return str(path)


def data_name(source: str) -> str:
    """Return a short name of a data set for folders and studies: the same for the same `source`."""
    if source.startswith("sample"):
        return source.replace(":", "-")
    path = Path(source)
    # train/_annotations.coco.json and annotations/instances_train.json are the names of all data sets of their kind.
    of_all = path.suffix.lower() == ".json" and path.parent.name.lower() in {"annotations", "labels", "train", "valid"}
    return f"{(path.parent.parent if of_all else path.parent).name}-{path.stem.lstrip('_')}"


def chosen_model(given: str | None, data: str, trainer: Sequence[str], tell: Callable[[str], None]) -> str:
    """Return the given model; without one, the model that the trainer's data check suggests, after a note to the user.

    Raises:
        DataError: no model is given, and the data set cannot be checked or must not be trained on.
        MachineError: no model is given, and the trainer does not work or does not check data.
    """
    if given is not None:
        return model_source(given)
    from tuner.workflows.data_check import advised_model

    try:
        advice = advised_model(data, trainer)
    except MachineError as error:
        raise MachineError(f"{error} Or choose the model with --model.") from error
    tell(f"model  {advice.choice}, suggested by the data check: {advice.why}; choose another with --model")
    return advice.choice


def model_source(given: str) -> str:
    """Return the absolute path of an existing file, which is valid in any folder; any other name is unchanged."""
    name = checked_path("--model", given)
    return str(Path(name).absolute()) if os.path.isfile(name) else name  # noqa: PTH113 - as above


def commands_prefix() -> str:
    """Return the prefix that makes a shell find this environment's `tune` and `yolo`; empty if it needs none."""
    folder = Path(sys.executable).parent
    found = shutil.which("tune")
    if found is not None and Path(found).parent == folder:
        return ""
    here = Path.cwd()
    return f"{folder.relative_to(here) if folder.is_relative_to(here) else folder}/"


def terminal_is_dumb() -> bool:
    """Check whether the terminal cannot show a live view."""
    return os.environ.get("TERM") == "dumb"


def started_view(context: typer.Context, *, plain: bool) -> "View":
    """Show the view of a run from now to the end of the command, before the slow packages are imported."""
    from rich.console import Console

    from tuner.report.progress import View

    view = View(Console(), plain=plain or terminal_is_dumb(), prefix=commands_prefix())
    view.preparing("starting")
    context.with_resource(view.shown())
    return view
