"""Implement `tune compare`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import completion
from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, open_study
from tuner.exceptions import UsageError

if TYPE_CHECKING:
    from tuner.report.compare.study import ComparedStudy
    from tuner.study import StoredStudy, StudyPaths


def compare(
    studies: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY",
            help="Names of two or more studies, as listed by `tune status`, or paths of their folders.",
            autocompletion=completion.study_names,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.html", help="Page to write instead of printing the comparison."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Compare studies: settings that differ, verdicts, best value over cost, winners' parameters and final runs.

    Examples:

        tune compare quick-sample-mamba-yolo-n quick-sample-yolov8n

        tune compare studies/seed-0 /mnt/other/studies/seed-1 -o compare.html
    """
    from tuner.report.compare.comparison import comparison_facts, comparison_of

    comparison = comparison_of(_compared(studies, home, storage))
    if output is not None:
        from tuner.report.compare.page import comparison_page
        from tuner.report.page.page import write_page

        write_page(comparison_page(comparison), output)
    if as_json:
        typer.echo(json.dumps(comparison_facts(comparison), indent=2))
    elif output is not None:
        typer.echo(output)
    else:
        from rich.console import Console

        from tuner.report.compare.terminal import comparison_text

        Console().print(*comparison_text(comparison), sep="\n")


def _compared(given: list[str], home: Path, storage: str | None) -> "list[ComparedStudy]":
    from tuner.report.compare.study import compared_study, labels

    if len(given) < 2:
        raise UsageError(f"`tune compare` takes two or more studies, but got only '{given[0]}'; name another.")
    opened = [_open(each, home, storage) for each in given]
    _refuse_repeated(given, [study for study, _ in opened])
    return [
        compared_study(recorded, label, paths, is_driven=recorded.driver is not None)
        for (study, paths), label in zip(opened, labels([paths.root for _, paths in opened]), strict=True)
        for recorded in [study.snapshot()]
    ]


def _refuse_repeated(given: list[str], studies: "list[StoredStudy]") -> None:
    from tuner.storage.urls import sqlite_path

    places: dict[tuple[str, str], str] = {}
    for each, study in zip(given, studies, strict=True):
        database = sqlite_path(study.url)
        place = (study.url if database is None else str(database.resolve()), study.name)
        if place in places:
            raise UsageError(
                f"`tune compare` takes different studies, but got '{places[place]}' and '{each}'; omit one."
            )
        places[place] = each


def _open(given: str, home: Path, storage: str | None) -> "tuple[StoredStudy, StudyPaths]":
    """Open a study by its name, or by the path of its folder."""
    if os.sep not in given:
        return open_study(given, home, storage)
    folder = Path(given).resolve()  # so that two names of one folder are the same
    return open_study(folder.name, folder.parent, None)
