"""Implement `tune doctor`."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.arguments import DEFAULT_HOME, Home, Trainer, trainer_command
from tuner.exceptions import MachineError, UsageError
from tuner.system.printable import printable

if TYPE_CHECKING:
    from tuner.workflows.device_check.report import Report
    from tuner.workflows.doctor import Findings

_MAX_MINUTES = 30.0


def doctor(
    home: Home = DEFAULT_HOME,
    trainer: Trainer = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, for a bug report.")] = False,
    on_gpu: Annotated[
        bool,
        typer.Option(
            "--gpu",
            help="Also measure every GPU as training uses it: kernels, speed, memory, data loading, lost processes, a "
            "short search. Takes some minutes, and writes gpu-check.md and gpu-check.json for a bug report.",
        ),
    ] = False,
    on_cpu: Annotated[
        bool, typer.Option("--cpu", help="Make the checks of --gpu in a small form on the CPU, to try them.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK", help="Make only this check of --gpu or --cpu, such as memory; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for the report of --gpu or --cpu. Default: the current folder."),
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option(min=1.0, metavar="MINUTES", help="End the checks of --gpu or --cpu after this time. Default: 30."),
    ] = None,
) -> None:
    """Check this machine: versions, devices, folders, the `tune` on the path; with --gpu, also measure its GPUs."""
    from tuner.workflows.device_check import session
    from tuner.workflows.device_check.checks import named
    from tuner.workflows.doctor import examine

    if on_gpu and on_cpu:
        raise UsageError("--gpu and --cpu exclude each other, but both are given; omit one.")
    if not (on_gpu or on_cpu):
        given = {"--only": only, "--out": out, "--max-minutes": max_minutes}
        if unused := [option for option, value in given.items() if value]:
            raise UsageError(f"{unused[0]} belongs to the checks of a device; add --gpu, or --cpu to try them.")
    chosen = named(only or ())
    command = trainer_command(trainer)
    findings = examine(home.absolute(), command)
    if on_gpu or on_cpu:
        folder = (out or Path()).absolute()
        measure = partial(
            session.run,
            findings,
            command,
            folder,
            on_cpu=on_cpu,
            limit_s=60 * (max_minutes or _MAX_MINUTES),
            only=chosen,
        )
        _measure(findings, measure, folder, as_json=as_json)
    elif as_json:
        typer.echo(json.dumps({"version": 1, "facts": findings.facts, "problems": list(findings.problems)}, indent=2))
    else:
        _print(findings)
    if findings.problems:
        raise MachineError(f"tune doctor found {len(findings.problems)} problem(s).")


def _print(findings: "Findings") -> None:
    for name, value in findings.facts.items():
        typer.echo(f"{name:<18} {printable(value)}")
    for problem in findings.problems:
        typer.echo(f"PROBLEM            {printable(problem)}")
    if not findings.problems:
        typer.echo("No problems found.")


def _measure(findings: "Findings", measure: Callable[..., "Report"], folder: Path, *, as_json: bool) -> None:
    """Make the checks of the devices, and print each result when it is there; as JSON, print all at the end."""
    from tuner.workflows.device_check import report

    if not as_json:
        _print(findings)
        typer.echo()
    found = measure(
        on_begin=lambda name, device: typer.echo(f"{name} on {device} ...", err=True),
        on_result=lambda result: None if as_json else typer.echo(f"{_printable_lines(report.section(result))}\n"),
    )
    if as_json:
        typer.echo(json.dumps(report.as_json(found), indent=2))
    else:
        typer.echo(f"Report: {folder / report.MARKDOWN} and {folder / report.JSON}")
    wrong = sum(not result.is_good for result in found.results)
    if wrong:
        raise MachineError(f"{wrong} of {len(found.results)} checks found a problem or did not end; see the report.")


def _printable_lines(text: str) -> str:
    """Return text of several lines with each line safe to print."""
    return "\n".join(map(printable, text.splitlines()))
