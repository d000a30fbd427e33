"""Implement `tune diagnose`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.arguments import commands_prefix
from tuner.exceptions import SpaceError
from tuner.system.printable import printable

if TYPE_CHECKING:
    from tuner.diagnosis import Diagnosis


def diagnose_run(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its results.csv or records.jsonl.")],
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.yaml", help="Write the run's arguments with the changes, for yolo train cfg=FILE.yaml."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the diagnosis as JSON.")] = False,
) -> None:
    """Diagnose a training run from its curves, and suggest changes.

    Reads the files of `yolo train` and of this product's trials, finished or not:
    results.csv with args.yaml, or records.jsonl. Trains nothing, and writes nothing without --write.

    Examples:

        tune diagnose runs/detect/train

        tune diagnose studies/my-study/trials/0003 --write next.yaml
    """
    from tuner.diagnosis import diagnose, read_run
    from tuner.diagnosis.next_run import is_resumed, next_yaml, write_next
    from tuner.report.diagnosis import diagnosis_facts, diagnosis_lines

    diagnosis = diagnose(read_run(run))
    if write is not None and diagnosis.changes:
        text = next_yaml(diagnosis)
        refuse_what_train_refuses(text, write, named={"model"} if is_resumed(diagnosis) else set())
        write_next(text, write)
    if as_json:
        typer.echo(json.dumps(diagnosis_facts(diagnosis), indent=2, allow_nan=False))
        return
    typer.echo("\n".join(map(printable, diagnosis_lines(diagnosis))))
    typer.echo(printable(_next(diagnosis, write)))


def refuse_what_train_refuses(text: str, target: Path, *, named: set[str]) -> None:
    """Raise the error that `tune train` would raise for the file, except for `named` arguments of its command line."""
    from tuner.training.arguments_file import parameters_of

    try:
        parameters_of(text, str(target), overridden=named)
    except SpaceError as error:
        raise SpaceError(f"{error}\n'{target}' was not written, because `tune train` would refuse it.") from error


def _next(diagnosis: "Diagnosis", written: Path | None) -> str:
    """Return the line with the next command, or with the reason why there is none."""
    from tuner.diagnosis import Condition
    from tuner.diagnosis.next_run import is_resumed

    if not diagnosis.changes:
        kept = f"; {written} was not written" if written else ""
        if diagnosis.findings:
            return f"next      follow the remedy above; no argument needs to change{kept}"
        if diagnosis.condition is Condition.NOT_JUDGED:
            return f"next      nothing to change, judging by the available data{kept}"
        return f"next      nothing to change{kept}"
    prefix, source = commands_prefix(), shlex.quote(diagnosis.run.source)
    if not diagnosis.run.params:
        return (
            "next      pass these changes to tune train together with the run's other arguments, which are unknown here"
        )
    if written is None:
        return f"next      {prefix}tune diagnose {source} --write next.yaml"
    began_from = " --model MODEL" if is_resumed(diagnosis) and "model" not in diagnosis.changes else ""
    return f"next      {prefix}tune train --params {shlex.quote(str(written))}{began_from}"
