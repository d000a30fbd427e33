"""Find problems of this machine before they cost GPU-hours."""

import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tuner.contract import EnvironmentRecord, EnvironmentRequest, Gpu, Outcome, Record
from tuner.exceptions import MachineError
from tuner.execution.single_request import ask
from tuner.memory.shared_memory import SHARED_MEMORY
from tuner.system.scratch import scratch_folder
from tuner.system.signals import trapped_signals

_PACKAGES = ("mamba-yolo-tuner", "optuna", "ray", "sqlalchemy", "optuna-dashboard", "numpy")
_TRAINER_TIMEOUT_S = 120
_LITTLE_SHARED_BYTES = 1 << 30
"""Free shared memory that is too little for most searches; a run computes what it needs itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Facts about the machine, and its problems."""

    facts: Mapping[str, str]
    problems: tuple[str, ...]
    """Problems with their remedies, one line each."""
    gpus: tuple[Gpu, ...] = ()
    """GPUs that the trainer can use."""


def examine(home: Path, trainer: Sequence[str]) -> Findings:
    """Check the packages, the devices, the `tune` on the path, and the folder for studies.

    Args:
        home: Folder for studies.
        trainer: Command of the trainer, which reports the devices.
    """
    facts = {"python": f"{platform.python_version()} on {platform.platform()}"}
    facts |= {name: _version(name) for name in _PACKAGES}
    problems = [
        f"{name} is not installed; run `make install` or `pip install .` in the project's folder"
        for name in _PACKAGES
        if not facts[name]
    ]
    of_trainer, wrong_with_trainer, gpus = _trainer(trainer)
    for found, wrong in ((of_trainer, wrong_with_trainer), _command_on_path(), _folder(home)):
        facts |= found
        problems += wrong
    return Findings(facts=facts, problems=tuple(problems), gpus=gpus)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def gpus_of(trainer: Sequence[str]) -> tuple[Gpu, ...]:
    """Return the GPUs that the trainer with this command can use.

    Raises:
        MachineError: the trainer does not start, or does not describe its environment.
    """
    return _environment(trainer).gpus


def _environment(trainer: Sequence[str]) -> EnvironmentRecord:
    """Ask the trainer in a separate process, because this process never imports torch."""
    report: EnvironmentRecord | None = None

    def listen(record: Record) -> None:
        nonlocal report
        if isinstance(record, EnvironmentRecord):
            report = record

    with trapped_signals(), scratch_folder() as folder:
        request = EnvironmentRequest(directory=str(folder))
        end = ask(trainer, request, listen, timeout_s=_TRAINER_TIMEOUT_S)
    if end.outcome != Outcome.COMPLETED or report is None:
        raise MachineError(f"the trainer does not start: {end.message or end.outcome}")
    return report


def _trainer(command: Sequence[str]) -> tuple[dict[str, str], list[str], tuple[Gpu, ...]]:
    try:
        report = _environment(command)
    except MachineError as problem:
        return {}, [str(problem)], ()
    gpus = ", ".join(map(_named, report.gpus))
    shared, problems = _shared_memory() if report.gpus else ({}, [])
    facts = {
        **report.versions,
        "gpus": gpus or "none: training runs on the CPU",
        "cuda": report.cuda or "none",
        **shared,
        **report.facts,
    }
    return facts, [*report.problems, *problems], report.gpus


def _shared_memory() -> tuple[dict[str, str], list[str]]:
    """Check the memory through which data loaders pass batches to training on a GPU."""
    if not SHARED_MEMORY.is_dir():
        return {}, []
    usage = shutil.disk_usage(SHARED_MEMORY)
    facts = {"shared memory": f"{usage.total / 2**30:.1f} GiB ({usage.free / 2**30:.1f} free)"}
    if usage.free >= _LITTLE_SHARED_BYTES:
        return facts, []
    return facts, [
        f"shared memory ({SHARED_MEMORY}) is smaller than the batches that data loaders of a GPU prepare: "
        f"{usage.free / 2**20:.0f} MiB are free; give a container more (`docker run --shm-size=16g`, or `--ipc=host`)"
    ]


def _named(gpu: Gpu) -> str:
    free = "" if gpu.free_gib is None else f", {gpu.free_gib} free"
    return f"{gpu.name} ({gpu.memory_gib} GiB{free})"


def _command_on_path() -> tuple[dict[str, str], list[str]]:
    """Check the `tune` on the path: Ray also has a script `tune`, which replaces ours if it is installed later."""
    found = shutil.which("tune")
    if found is None:
        return {"tune on path": "none"}, [
            f"no `tune` is on the path; add '{Path(sys.executable).parent}' to PATH, or use `python -m tuner`"
        ]
    facts = {"tune on path": found}
    if "tuner.cli" in Path(found).read_text(errors="replace"):
        return facts, []
    return facts, [
        f"the `tune` on the path, '{found}', is another program (perhaps Ray's); "
        "run `pip install --force-reinstall --no-deps .` in the project's folder to restore ours, "
        "or use `mamba-tune` or `python -m tuner`"
    ]


def _folder(home: Path) -> tuple[dict[str, str], list[str]]:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    facts = {"studies in": f"{home} ({free_gib:.0f} GiB free)"}
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return facts, [f"the folder for studies must be writable, but '{existing}' is not; choose another with --home"]
    return facts, []
