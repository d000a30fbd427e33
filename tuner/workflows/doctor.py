"""What is wrong with this machine, before it costs GPU hours."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuner.exceptions import MachineError
from tuner.system.scratch import scratch_folder
from tuner.system.signals import trapped_signals

_PACKAGES = ("mamba-yolo-tuner", "optuna", "ray", "sqlalchemy", "optuna-dashboard", "numpy")
_TRAINER_TIMEOUT_S = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What was found."""

    facts: Mapping[str, str]
    problems: tuple[str, ...]
    """One line each: what is wrong, and the remedy."""


def examine(home: Path) -> Findings:
    """Look at packages, devices, the `tune` on the path, and the folder for studies."""
    facts = {"python": f"{platform.python_version()} on {platform.platform()}"}
    facts |= {name: _version(name) for name in _PACKAGES}
    problems = [
        f"{name} is not installed: in the project's folder, `make install` or `pip install .`"
        for name in _PACKAGES
        if not facts[name]
    ]
    for found, wrong in (_trainer(), _command_on_path(), _folder(home)):
        facts |= found
        problems += wrong
    return Findings(facts=facts, problems=tuple(problems))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def gpu_memories_gib() -> list[float]:
    """The memory of each GPU that training can use.

    Raises:
        MachineError: the trainer does not start.
    """
    return [float(gpu["memory_gib"]) for gpu in _environment()["gpus"]]


def _environment() -> dict[str, Any]:
    """The training side, asked in a process of its own: this one never imports torch."""
    command = [sys.executable, "-m", "trainer", "environment"]
    try:
        with trapped_signals(), scratch_folder():
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TRAINER_TIMEOUT_S, check=False)
        report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, json.JSONDecodeError, IndexError) as error:
        lines = done.stderr.strip().splitlines() if "done" in locals() else ["it did not answer in time"]
        raise MachineError(f"the trainer does not start: {lines[-1] if lines else 'no output'}") from error
    return report


def _trainer() -> tuple[dict[str, str], list[str]]:
    try:
        report = _environment()
    except MachineError as problem:
        return {}, [str(problem)]
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in report["gpus"])
    facts = {
        **report["versions"],
        "gpus": gpus or "none: training runs on the CPU",
        "cuda": report["cuda"] or "none",
        **{f"scan on {device}": name for device, name in report["selective_scan"].items()},
    }
    return facts, list(report["problems"])


def _command_on_path() -> tuple[dict[str, str], list[str]]:
    """Ray ships a script `tune` too; installed or upgraded after us, it takes the name."""
    found = shutil.which("tune")
    if found is None:
        return {"tune on path": "none"}, [
            f"no `tune` is on the path: add '{Path(sys.executable).parent}' to PATH, or type `python -m tuner`"
        ]
    facts = {"tune on path": found}
    if "tuner.cli" in Path(found).read_text(errors="replace"):
        return facts, []
    return facts, [
        f"the `tune` on the path, '{found}', is another program (Ray's own?): "
        "in the project's folder `pip install --force-reinstall --no-deps .` puts ours back; "
        "`mamba-tune` and `python -m tuner` work as they are"
    ]


def _folder(home: Path) -> tuple[dict[str, str], list[str]]:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gib = shutil.disk_usage(existing).free / 2**30
    facts = {"studies in": f"{home} ({free_gib:.0f} GiB free)"}
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return facts, [f"the folder for studies cannot be written: '{existing}'; choose another with --home"]
    return facts, []
