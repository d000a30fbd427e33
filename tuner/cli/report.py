"""Implement `tune report`."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, StudyName, open_study


def report(
    study: StudyName,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. Default: report.html in the study's folder."),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FOLDER", help="Folder to write the charts to as PNG images, too.")
    ] = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Write the results of a study as one HTML file, which needs no network."""
    from tuner.report.page.page import write_images, write_page
    from tuner.report.page.study import study_page

    opened, paths = open_study(study, home, storage)
    content = study_page(opened, paths)
    target = paths.report if output is None else output
    write_page(content, target)
    typer.echo(target)
    if png is not None:
        write_images(content, png)
        typer.echo(png)
