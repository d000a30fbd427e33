"""Implement `tune data`, the check of a data set before it costs GPU-hours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.arguments import Trainer, commands_prefix, terminal_is_dumb, trainer_command
from tuner.exceptions import DataError, UsageError
from tuner.system.atomic_files import write_whole
from tuner.system.paths import checked_path
from tuner.system.printable import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from tuner.workflows.data_check import OnProgress

app = typer.Typer(help="Check a data set before it costs GPU-hours.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Check a data set before it costs GPU-hours."""


@app.command()
def check(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Data set YAML or COCO JSON, or sample for the bundled data set.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the report as an HTML page with images of the worst findings."),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a cleaned data set, with links to the images, to a new folder."),
    ] = None,
    places: Annotated[int, typer.Option(min=0, help="Maximum places to list for each finding.")] = 3,
    trainer: Trainer = None,
) -> None:
    """Check every image and label of a data set, and suggest a model and a search space.

    Reports flaws, images that leak from train into val, and the smallest difference that val can resolve.
    Never changes the data set itself. The exit code is 4 if `tune run` would refuse the data set.

    Examples:

        tune data check my/dataset.yaml

        tune data check my/dataset.yaml --html check.html --fix cleaned
    """
    from tuner.contract.data_report import encode_report
    from tuner.report.data_check import data_check_lines, next_command
    from tuner.workflows.data_check import check_data

    if data.partition(":")[0] != "sample":
        checked_path("DATA", data)
    if html is not None and (html.is_dir() or not os.access(html.parent, os.W_OK)):
        raise _not_writable(html, "it is a folder" if html.is_dir() else "its folder is missing or read-only")
    with _progress() as on_progress:
        report, cleaned = check_data(
            data, trainer_command(trainer), samples=html is not None, fix=fix, on_progress=on_progress
        )
    if as_json:
        typer.echo(encode_report(report), nl=False)
    else:
        for line in data_check_lines(report, places):
            typer.echo(line)
    if html is not None:
        from tuner.report.data_check_page import data_check_page

        _write_page(html, data_check_page(report).encode("utf-8", "backslashreplace"))
        typer.echo(f"page        {printable(str(html))}", err=as_json)
    if cleaned is not None:
        typer.echo(
            f"cleaned     {printable(cleaned.data)}: {cleaned.num_images:,} images, {cleaned.num_left_out:,} left "
            f"out, {cleaned.num_rewritten:,} rewritten, {cleaned.num_rows:,} label rows changed",
            err=as_json,
        )
    if report.refusal:
        raise DataError(report.refusal)
    if not as_json:
        typer.echo(f"\nNext: {commands_prefix()}{next_command(report, data)}")


def _write_page(file: Path, content: bytes) -> None:
    try:
        write_whole(file, content)
    except OSError as error:
        raise _not_writable(file, error.strerror or type(error).__name__) from error


def _not_writable(file: Path, why: str) -> UsageError:
    return UsageError(f"--html must be a writable file, but got '{file}': {why}; choose another.")


@contextmanager
def _progress() -> "Iterator[OnProgress]":
    """Show progress bars on standard error if it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    disable = not console.is_terminal or terminal_is_dumb()
    with Progress(*columns, console=console, transient=True, disable=disable) as bars:
        tasks: dict[str, TaskID] = {}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done)

        yield on_progress
