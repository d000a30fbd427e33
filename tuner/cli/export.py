"""`tune export`."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, open_study
from tuner.exceptions import UsageError
from tuner.export import params_yaml, write_params
from tuner.printable import printable
from tuner.promotion import choose_winner


def export(
    study: Annotated[
        list[str], typer.Argument(metavar="STUDY...", help="The study's name, as `tune status` lists it.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write. Default: params.yaml.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs to write. Default: the promoted run's, or the space's.")
    ] = None,
    curves: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet",
            help="Write the learning curves of all trials instead, of several studies of one space if they are named.",
        ),
    ] = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Write the winner's configuration, ready for `yolo train cfg=params.yaml`."""
    if curves is not None:
        if output is not None or epochs is not None:
            raise UsageError("--curves writes a table instead of params.yaml; leave --output and --epochs out.")
        _export_curves(curves, list(dict.fromkeys(study)), home, storage)
        return
    if len(study) > 1:
        raise UsageError(f"A winner is that of one study, but got {', '.join(study)}; name one, or add --curves.")
    opened, _ = open_study(study[0], home, storage)
    winner = choose_winner(opened)
    begun = opened.promotion if opened.promotion.get("trial") == winner.trial.number else {}
    length = epochs or int(begun.get("epochs", opened.spec.promote_epochs))
    target = output or Path("params.yaml")
    write_params(params_yaml(opened, winner, length), target)
    typer.echo(printable(str(target)))


def _export_curves(target: Path, names: list[str], home: Path, storage: str | None) -> None:
    from tuner.curves import RecordedStudy, write_curves  # pyarrow only where it is needed

    opened = [open_study(name, home, storage) for name in names]
    number = write_curves(target, [RecordedStudy(study=study, paths=paths) for study, paths in opened])
    typer.echo(printable(f"{target}: {number} trials"))
