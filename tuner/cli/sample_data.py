"""Implement `tune sample-data`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.exceptions import DataError
from tuner.system.printable import printable


def sample_data(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the data set.")],
    images: Annotated[
        int, typer.Option(min=8, help="Number of training images; validation gets a quarter as many.")
    ] = 600,
) -> None:
    """Write the bundled sample data set: composed images of clothes, ready for training."""
    command = [sys.executable, "-m", "trainer", "sample-data", str(directory), "--images", str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(done.stderr.strip().splitlines()[-1])
    typer.echo(printable(done.stdout.strip()))
