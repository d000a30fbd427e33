"""Implement `tune status`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli import completion
from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, open_study


def status(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]",
            help="Name of the study. Default: list all studies of --home and --storage.",
            autocompletion=completion.study_names,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Show the trials of a study, why they ended, and how the best compares with the default; or list all studies."""
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
    names = [path.parent.name for path in home.glob("*/study.db")]
    if not names and storage is None:  # without a study, nothing slow is imported
        _print_no_study(f"'{home.absolute()}'", as_json=as_json)
        return
    from rich.console import Console

    from tuner.report.studies import studies_facts, studies_table, summaries
    from tuner.storage.database import masked

    rows = summaries(home, names, storage)
    if as_json:
        typer.echo(json.dumps(studies_facts(rows), indent=2))
    elif rows:
        Console().print(*studies_table(rows, datetime.now(UTC)), sep="\n")
    else:
        _print_no_study(f"'{home.absolute()}' and {masked(storage or '')}", as_json=False)


def _print_no_study(where: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"version": 2, "studies": []}))
    else:
        typer.echo(f"No studies in {where} yet. Start one: tune run --space quick", err=True)
