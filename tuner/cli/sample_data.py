"""`tune sample-data`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.exceptions import DataError
from tuner.system.printable import printable


def sample_data(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put it.")],
    images: Annotated[int, typer.Option(min=8, help="Training images; a quarter as many for validation.")] = 600,
) -> None:
    """Write the sample data set: composed images of clothes, ready to train on."""
    command = [sys.executable, "-m", "trainer", "sample-data", str(directory), "--images", str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(done.stderr.strip().splitlines()[-1])
    typer.echo(printable(done.stdout.strip()))
