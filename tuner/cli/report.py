"""Implement `tune report`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, StudyName, open_study


def report(
    study: StudyName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write. Default: report.html in the study's folder, or in the current one if it has none.",
        ),
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FOLDER", help="Folder to write the charts to as PNG images, too.")
    ] = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Write the results of a study as one HTML file, which needs no network; also while the study is being driven.

    It also takes a study that another program made with Optuna.
    """
    from tuner.report.page.foreign import foreign_page
    from tuner.report.page.notices import stored_notice
    from tuner.report.page.page import write_images, write_page
    from tuner.report.page.study import study_page

    opened, paths = open_study(study, home, storage)
    if opened.is_ours:
        recorded = opened.snapshot()
        notice = stored_notice(recorded.trials(), recorded.driver, datetime.now(UTC))
        content = study_page(recorded, paths, notice=notice)
    else:
        content = foreign_page(opened)
    target = output or (paths.report if paths.root.is_dir() else Path("report.html"))
    write_page(content, target)
    if content.notice:
        typer.echo(content.notice, err=True)
    typer.echo(target)
    if png is not None:
        write_images(content, png)
        typer.echo(png)
