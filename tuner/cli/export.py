"""Implement `tune export`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli import completion
from tuner.cli.arguments import (
    DEFAULT_HOME,
    DataNow,
    Home,
    ModelNow,
    Storage,
    Trainer,
    data_source,
    model_source,
    open_study,
    trainer_command,
)
from tuner.exceptions import UsageError
from tuner.system.printable import printable

if TYPE_CHECKING:
    from tuner.study import ReadableStudy, StudyPaths, StudySpec
    from tuner.training.card import WinnersCard


def export(
    study: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDY...",
            help="Name of the study, as listed by `tune status`.",
            autocompletion=completion.study_names,
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write. Default: params.yaml.")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of epochs to write. Default: that of the final run, or of the space."),
    ] = None,
    curves: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet",
            help="Write the learning curves of all trials instead; accepts several studies of one space.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the path of the file and the winner's card as JSON.")
    ] = False,
    data: DataNow = None,
    model: ModelNow = None,
    home: Home = DEFAULT_HOME,
    storage: Storage = None,
    trainer: Trainer = None,
) -> None:
    """Write the winner's configuration for `yolo train cfg=params.yaml`, and show the card of its final run."""
    if curves is not None:
        if as_json or any(option is not None for option in (output, epochs, data, model)):
            raise UsageError(
                "--curves excludes --output, --epochs, --json, --data and --model, but some of them are given; "
                "omit them."
            )
        _export_curves(curves, list(dict.fromkeys(study)), home, storage)
        return
    if len(study) > 1:
        raise UsageError(
            f"STUDY must be a single study without --curves, but got {', '.join(study)}; name one, or add --curves."
        )
    from tuner.training.card import read_card
    from tuner.training.export import length_of_full_run, params_yaml, write_params
    from tuner.training.final_run import choose_winner

    opened, paths = open_study(study[0], home, storage)
    recorded = opened.snapshot()
    winner = choose_winner(recorded)
    length = epochs or length_of_full_run(recorded, winner)
    target = output or Path("params.yaml")
    spec = _with_places_of_now(recorded, paths, trainer, data, model)
    write_params(params_yaml(recorded, winner, length, spec), target)
    if winner.nothing_learnt:
        typer.echo(printable(winner.said()), err=True)
    card = read_card(recorded, paths)
    _show(target, card if card is not None and card.trial == winner.trial.number else None, as_json=as_json)


def _show(params: Path, card: "WinnersCard | None", *, as_json: bool) -> None:
    """Print the path of the file, and the winner's card on standard error, so that the path alone can be piped."""
    if as_json:
        facts = {"params": str(params.absolute()), "card": None if card is None else card.values()}
        typer.echo(json.dumps(facts, indent=1))
        return
    from tuner.report.card import card_lines

    for line in [] if card is None else card_lines(card):
        typer.echo(printable(line), err=True)
    typer.echo(printable(str(params)))


def _with_places_of_now(
    study: "ReadableStudy", paths: "StudyPaths", trainer: str | None, data: str | None, model: str | None
) -> "StudySpec":
    """Return the spec with valid paths.

    A trainer prepares the study again if the user names new paths or a file is missing.
    """
    from tuner.workflows.places import in_place, prepared_again

    if data is None and model is None and in_place(study.spec):
        return study.spec
    return prepared_again(
        study.name,
        study.spec,
        paths,
        trainer_command(trainer),
        data=None if data is None else data_source(data),
        model=None if model is None else model_source(model),
    ).spec


def _export_curves(target: Path, names: list[str], home: Path, storage: str | None) -> None:
    from tuner.curve_table.writer import RecordedStudy, write_curves

    opened = [open_study(name, home, storage) for name in names]
    number = write_curves(target, [RecordedStudy(study=study, paths=paths) for study, paths in opened])
    typer.echo(printable(f"{target}: {number} trials"))
