"""Make all checks and keep the report on disk up to date, so that an interrupted session loses nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tuner.exceptions import MachineError
from tuner.system.signals import trapped_signals
from tuner.workflows.device_check import checks, report
from tuner.workflows.device_check.report import Report
from tuner.workflows.device_check.results import CheckResult
from tuner.workflows.doctor import Findings

_PRIVATE = ("tune on path", "studies in")
"""Facts about folders, which do not belong into a bug report."""


def run(
    findings: Findings,
    command: Sequence[str],
    folder: Path,
    *,
    on_cpu: bool,
    limit_s: float,
    only: Sequence[str] = checks.NAMES,
    on_begin: Callable[[str, str], None],
    on_result: Callable[[CheckResult], None],
) -> Report:
    """Check the GPUs that the trainer can use, or the CPU in a small form.

    Args:
        findings: What `tune doctor` has found.
        command: Command of the trainer.
        folder: Folder for the report; created if it does not exist.
        on_cpu: Make small checks on the CPU, even if there are GPUs.
        limit_s: Time in seconds after which no check runs.
        only: Names of the checks to make.
        on_begin: Function that receives name and device of each check before it starts.
        on_result: Function that receives each result.

    Raises:
        MachineError: There is no GPU, the folder cannot be written, or the trainer does not know the request.
    """
    if not on_cpu and not findings.gpus:
        raise MachineError(
            "--gpu needs a GPU that torch can use, but there is none (`tune doctor` lists what it finds); "
            "to try the checks in a small form on the CPU, use --cpu."
        )
    facts = {name: value for name, value in findings.facts.items() if name not in _PRIVATE}
    found = Report(facts=facts, problems=findings.problems, results=())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        report.write(found, folder)
    except OSError as error:
        raise MachineError(
            f"The report needs a writable folder, but '{folder}' is not ({error.strerror}); choose another with --out."
        ) from error
    gpus = () if on_cpu else findings.gpus
    scope = checks.Scope(command=tuple(command), gpus=gpus, limit_s=limit_s, only=tuple(only))
    with trapped_signals():
        for result in checks.run(scope, on_begin=on_begin):
            found = Report(facts=facts, problems=findings.problems, results=(*found.results, result))
            report.write(found, folder)
            on_result(result)
    return found
