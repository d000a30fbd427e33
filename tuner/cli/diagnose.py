"""`tune diagnose`."""

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
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, or its results.csv or records.jsonl.")
    ],
    write: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="Write the run's arguments with the changes, for yolo train cfg=FILE."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON on standard output.")] = False,
) -> None:
    """Say what is wrong with a training run, by its curves, and what to change.

    It reads what `yolo train` and this product's trials leave behind, finished or not: results.csv with args.yaml,
    or records.jsonl. Nothing is trained, and nothing but --write writes.

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
    """Raise what `tune train` would say of the file; `named` are arguments that its command line will have."""
    from tuner.training.arguments_file import parameters_of

    try:
        parameters_of(text, str(target), overridden=named)
    except SpaceError as error:
        raise SpaceError(f"{error}\n'{target}' is not written: `tune train` would refuse it.") from error


def _next(diagnosis: "Diagnosis", written: Path | None) -> str:
    """What to type next, or why there is nothing."""
    from tuner.diagnosis import Condition
    from tuner.diagnosis.next_run import is_resumed

    if not diagnosis.changes:
        kept = f"; {written} was not written" if written else ""
        if diagnosis.findings:
            return f"next      follow the remedy above; there is no argument to change{kept}"
        if diagnosis.condition is Condition.NOT_JUDGED:
            return f"next      what is known calls for no change{kept}"
        return f"next      nothing to change{kept}"
    prefix, source = commands_prefix(), shlex.quote(diagnosis.run.source)
    if not diagnosis.run.params:
        return "next      pass these changes to tune train with the arguments of the run, which are unknown here"
    if written is None:
        return f"next      {prefix}tune diagnose {source} --write next.yaml"
    began_from = " --model MODEL" if is_resumed(diagnosis) and "model" not in diagnosis.changes else ""
    return f"next      {prefix}tune train --params {shlex.quote(str(written))}{began_from}"
