"""`tune preview`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.arguments import Trainer, commands_prefix, data_source, trainer_command
from tuner.exceptions import UsageError
from tuner.system.paths import checked_path
from tuner.system.printable import printable


def preview(
    space: Annotated[str | None, typer.Option(help="A space file, or a shipped space: its sheets as well.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set YAML, or sample for the bundled one. Default: the space's.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the sheets.")] = Path("preview"),
    imgsz: Annotated[
        int | None,
        typer.Option(min=32, max=4096, help="Size that images are trained at. Default: the space's, or 640."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=50, help="Rows of a sheet.")] = 4,
    draws: Annotated[int, typer.Option(min=1, max=20, help="Augmented images in a row.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Another one: other images, other draws.")] = 0,
    trainer: Trainer = None,
) -> None:
    """Draw training images as weak, medium and strong augmentation change them, and as a space does.

    Look whether objects can still be recognised, whether the boxes are on them, and whether colours are natural.

    Examples:

        tune preview --data my/dataset.yaml

        tune preview --space strong_aug.yaml --data my/dataset.yaml --out looks
    """
    from tuner.space import find_space, load_space
    from tuner.workflows import preview as service

    loaded = load_space(find_space(space, Path.cwd())) if space is not None else None
    size = _size(imgsz)
    options = service.PreviewOptions(
        space=loaded,
        data=data_source(data or (loaded.data if loaded else None)),
        directory=Path(checked_path("--out", str(out))),
        imgsz=size,
        images=images,
        draws=draws,
        seed=seed,
    )
    if sys.stderr.isatty():
        typer.echo("Drawing; the first time with a data set, all its training images are read ...", err=True)
    sheets = service.draw(options, trainer_command(trainer))
    for file in sheets.files:
        typer.echo(printable(str(file)))
    for note in sheets.notes:
        typer.echo(f"note: {printable(note)}")
    given = [f"--data {shlex.quote(data)}"] if data else []
    given += [f"--imgsz {size}"] if size is not None else []
    command = " ".join(["tune run", f"--space {shlex.quote(space or 'medium_aug')}", *given, "--dry-run"])
    typer.echo(f"Next: {printable(commands_prefix() + command)}")


def _size(imgsz: int | None) -> int | None:
    from tuner.space import ARGUMENTS, UnfitError

    try:
        return None if imgsz is None else int(ARGUMENTS["imgsz"].checked(imgsz))
    except UnfitError as unfit:
        raise UsageError(f"{str(unfit).replace('`imgsz`', '--imgsz')}.") from unfit
