"""`tune export`."""

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Storage, StudyName, open_study
from tuner.export import params_yaml, write_params
from tuner.printable import printable
from tuner.promotion import choose_winner


def export(
    study: StudyName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("params.yaml"),
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs to write. Default: the promoted run's, or the space's.")
    ] = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
) -> None:
    """Write the winner's configuration, ready for `yolo train cfg=params.yaml`."""
    opened, _ = open_study(study, home, storage)
    winner = choose_winner(opened)
    begun = opened.promotion if opened.promotion.get("trial") == winner.trial.number else {}
    length = epochs or int(begun.get("epochs", opened.spec.promote_epochs))
    write_params(params_yaml(opened, winner, length), output)
    typer.echo(printable(str(output)))
