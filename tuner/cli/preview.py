"""Implement `tune preview`."""

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
    space: Annotated[
        str | None, typer.Option(help="Space file or name of a shipped space, to draw its sheets too.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data set YAML or COCO JSON, or sample for the bundled data set. Default: that of the space."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the sheets.")] = Path("preview"),
    imgsz: Annotated[
        int | None,
        typer.Option(min=32, max=4096, help="Image size for training. Default: that of the space, or 640."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=50, help="Sampled images per sheet, one per row.")] = 4,
    draws: Annotated[int, typer.Option(min=1, max=20, help="Augmented versions of each image.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for the sampled images and augmentations.")] = 0,
    trainer: Trainer = None,
) -> None:
    """Draw training images with weak, medium and strong augmentation, and with that of a space.

    Check that you can still recognise the objects, that boxes are on them, and that colours look natural.

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
        typer.echo("Drawing; the first time, this reads all training images of the data set ...", err=True)
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
