"""Implement `tune status`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, open_study
from tuner.system.printable import printable


def status(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Name of the study. Default: list all studies of --home and --storage."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Show the trials of a study, why they ended, and how the best compares with the default configuration."""
    if study is None:
        _list(home, storage, as_json)
        return
    from rich.console import Console

    from tuner.report.status import status_of, status_table
    from tuner.storage.lease import holder_of

    opened, _ = open_study(study, home, storage)
    holder = holder_of(opened.url, opened.name)
    facts = status_of(opened, None if holder is None else str(holder))
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    Console().print(*status_table(facts), sep="\n")


def _list(home: Path, storage: str | None, as_json: bool) -> None:
    names, where = {path.parent.name for path in home.glob("*/study.db")}, f"'{home.absolute()}'"
    if storage is not None:
        from tuner.storage.database import masked
        from tuner.study import study_names

        names |= study_names(storage)
        where += f" and {masked(storage)}"
    if as_json:
        typer.echo(json.dumps({"version": 1, "studies": sorted(names)}))
    elif names:
        typer.echo("\n".join(map(printable, sorted(names))))
    else:
        typer.echo(f"No studies in {where} yet. Start one: tune run --space quick", err=True)
