"""Implement `tune doctor`."""

import json
from typing import Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Trainer, trainer_command
from tuner.exceptions import MachineError
from tuner.system.printable import printable


def doctor(
    home: Home = DEFAULT_HOME,
    trainer: Trainer = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, for a bug report.")] = False,
) -> None:
    """Check this machine: versions, devices, folders, and the `tune` on the path."""
    from tuner.workflows.doctor import examine

    findings = examine(home.absolute(), trainer_command(trainer))
    if as_json:
        typer.echo(json.dumps({"version": 1, "facts": findings.facts, "problems": list(findings.problems)}, indent=2))
    else:
        for name, value in findings.facts.items():
            typer.echo(f"{name:<18} {printable(value)}")
        for problem in findings.problems:
            typer.echo(f"PROBLEM            {printable(problem)}")
        if not findings.problems:
            typer.echo("No problems found.")
    if findings.problems:
        raise MachineError(f"tune doctor found {len(findings.problems)} problem(s).")
