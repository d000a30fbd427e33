"""Implement `tune db`, the maintenance of the database of a study or of any URL given with --storage."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import completion
from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, storage_url
from tuner.exceptions import StorageError, UsageError

if TYPE_CHECKING:
    from tuner.storage import maintenance

StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="[STUDY]",
        help="Name of the study whose database to use; not needed with --storage.",
        autocompletion=completion.study_names,
    ),
]

app = typer.Typer(help="Check, copy or upgrade the database of a study.", no_args_is_help=True)


@app.command()
def check(
    study: StudyName = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a database and list its studies, without changing anything.

    Checks that the database answers, is intact and has the right version.
    """
    from tuner.storage import maintenance

    found = maintenance.check(_url(study, home, storage))
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "version": 1,
                    "facts": found.facts,
                    "studies": found.studies,
                    "foreign": found.foreign,
                    "problems": found.problems,
                },
                indent=2,
            )
        )
    else:
        _print(found)
    if found.problems:
        raise StorageError(f"tune db check found {len(found.problems)} problem(s).")


@app.command()
def backup(
    study: StudyName = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="SQLite file to write. Default: a name made of the database's name and the time."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Copy a database to an SQLite file; this also works during a search.

    Open the copy with `--storage sqlite:///FILE`.
    """
    from tuner.storage import maintenance

    typer.echo(str(maintenance.backup(_url(study, home, storage), output, force=force)))


@app.command()
def upgrade(
    study: StudyName = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Confirm that you have a backup; required unless it is SQLite.")
    ] = False,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Upgrade the database of an older Optuna to the version that the installed Optuna needs.

    An SQLite file is copied first.
    Optuna 4 and older wrote local times; Optuna 5 and newer read them as UTC.
    """
    from tuner.storage import maintenance

    found, copy = maintenance.upgrade(_url(study, home, storage), confirmed=yes)
    if not found:
        typer.echo("Nothing to do: the tables already have the version that this Optuna needs.")
        return
    if copy is not None:
        typer.echo(f"Copied to {copy}")
    typer.echo(f"Upgraded from {found}.")


def _url(study: str | None, home: Path, storage: str | None) -> str:
    if study is None:
        if storage is None:
            raise UsageError("A database is required, but none is given; name its study, or add --storage URL.")
        return storage
    from tuner.study import StudyPaths

    return storage_url(storage, StudyPaths.of(home, study))


def _print(found: "maintenance.Report") -> None:
    for name, value in found.facts.items():
        typer.echo(f"{name:<18} {value}")
    for name, states in found.studies.items():
        trials = ", ".join(f"{count} {state}" for state, count in states.items()) or "no trials"
        typer.echo(f"study {name:<12} {trials}{' (not made by tune)' if name in found.foreign else ''}")
    for problem in found.problems:
        typer.echo(f"PROBLEM            {problem}")
    if not found.problems:
        typer.echo("No problems found.")
