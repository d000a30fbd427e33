"""Implement `tune status`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import completion
from tuner.cli.arguments import DEFAULT_HOME, STORAGE_VARIABLE, open_study, terminal_is_dumb
from tuner.exceptions import UsageError
from tuner.system.garbage import collection_paused

if TYPE_CHECKING:
    from tuner.study import StoredStudy, StudyPaths


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
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="ORDER",
            help="Order of the trials: number, value, gain, cost or epochs. Default: number.",
            autocompletion=completion.trial_orders,
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, metavar="N", help="Show only the first N trials.")] = None,
    trial: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Show everything that is recorded about trial N.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow a run of another process or machine until it ends.")
    ] = False,
    interval: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Time between two looks of --watch.")
    ] = 2.0,
    home: Annotated[Path, typer.Option(envvar="TUNE_HOME", help="Folder that holds the studies.")] = DEFAULT_HOME,
    storage: Annotated[
        list[str] | None,
        typer.Option(
            envvar=STORAGE_VARIABLE,
            help="Database URL; may be repeated for the list of all studies. Default: the SQLite files in the studies' "
            "folders.",
        ),
    ] = None,
) -> None:
    """Show the trials of a study, why they ended, and how the best compares with the default; or list all studies.

    Examples:

        tune status

        tune status STUDY --sort value --top 10

        tune status STUDY --trial 7

        tune status STUDY --watch
    """
    urls = list(dict.fromkeys(storage or ()))
    if study is None:
        _refuse_without_study(sort=sort, top=top, trial=trial, watch=watch or None)
        _list(home, urls, as_json)
        return
    if len(urls) > 1:
        raise UsageError(f"--storage must be given once for a single study, but got {len(urls)}; omit the others.")
    if watch and as_json:
        raise UsageError("--watch and --json exclude each other, but both are given; omit one.")
    opened, paths = open_study(study, home, urls[0] if urls else None)
    if watch:
        _watch(opened, paths, interval)
    else:
        with collection_paused():  # everything that is read stays until it is printed
            _show(opened, paths, sort=sort or "number", top=top, trial=trial, as_json=as_json)


def _refuse_without_study(**options: object) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"{given[0]} is for a single study, but no name is given; `tune status` lists the names.")


def _watch(study: "StoredStudy", paths: "StudyPaths", interval_s: float) -> None:
    from rich.console import Console

    from tuner.report.live.watch import watch

    try:
        watch(study, paths, Console(), interval_s=interval_s, plain=terminal_is_dumb())
    except KeyboardInterrupt:
        typer.echo("stopped watching; the run continues", err=True)


def _show(
    study: "StoredStudy", paths: "StudyPaths", *, sort: str, top: int | None, trial: int | None, as_json: bool
) -> None:
    from rich.console import Console

    from tuner.report.status import status_of, status_table
    from tuner.report.trials import best_parameters, sorted_trials, trial_lines, trial_of

    recorded = study.snapshot()
    facts = status_of(recorded, recorded.driver)
    if trial is not None:
        one = trial_of(facts, trial, paths)
        typer.echo(json.dumps(one, indent=2) if as_json else "\n".join(trial_lines(one)))
        return
    shown = {**facts, "trials": sorted_trials(facts["trials"], sort, top)}
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    Console().print(*status_table(shown), *best_parameters(facts, *([] if top is None else [top])), sep="\n")


def _list(home: Path, urls: Sequence[str], as_json: bool) -> None:
    names = [path.parent.name for path in home.glob("*/study.db")]
    if not names and not urls:  # without a study, nothing slow is imported
        _print_no_study(f"'{home.absolute()}'", as_json=as_json)
        return
    from rich.console import Console

    from tuner.report.studies import studies_facts, studies_table, summaries
    from tuner.storage.urls import masked

    rows = summaries(home, names, urls)
    if as_json:
        typer.echo(json.dumps(studies_facts(rows), indent=2))
    elif rows:
        Console().print(*studies_table(rows, datetime.now(UTC)), sep="\n")
    else:
        _print_no_study(" and ".join([f"'{home.absolute()}'", *map(masked, urls)]), as_json=False)


def _print_no_study(where: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"version": 2, "studies": []}))
    else:
        typer.echo(f"No studies in {where} yet. Start one: tune run --space quick", err=True)
