"""Has the trainer check a data set, and hears how far it is."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tuner.contract.data_report import Advice, DataReport, decode_report
from tuner.exceptions import DataError, MachineError
from tuner.system.scratch import scratch_folder
from tuner.system.signals import trapped_signals

Hear = Callable[[str, int, int], None]
"""Told the name of a step, how many pictures it has done, and of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """What a cleaned data set holds."""

    data: str
    """Its YAML."""
    num_pictures: int
    num_left_out: int
    num_rewritten: int
    """Pictures that were saved without the bytes after their end; all others are links."""
    num_rows: int
    """Rows of label files that were deleted or cut."""


def check_data(
    data: str,
    *,
    samples: bool = False,
    fix: Path | None = None,
    kept: bool = False,
    hear: Hear = lambda step, done, total: None,
) -> tuple[DataReport, Cleaned | None]:
    """What is in a data set and what is wrong with it; the user's files are only ever read.

    Args:
        data: the YAML's path, or `sample` or `sample:N`.
        samples: with small pictures of the worst.
        fix: a new folder for a data set without what was found.
        kept: an earlier check will do where no file has changed since.

    Raises:
        DataError: it cannot be read at all, or the cleaned one cannot be written.
        MachineError: the trainer does not work.
    """
    with trapped_signals(), scratch_folder() as folder:
        report = folder / "report.json"
        command = [sys.executable, "-m", "trainer", "check-data", data, "--report", str(report)]
        command += ["--samples"] if samples else []
        command += ["--fix", str(fix)] if fix is not None else []
        command += ["--kept"] if kept else []
        with (folder / "stderr.log").open("w+") as said:
            cleaned = _run(command, said, hear)
        return decode_report(report.read_text("ascii")), cleaned


def advised_model(data: str) -> Advice:
    """Check a data set for the model to begin with: its name is the choice.

    Raises:
        DataError: the data set cannot be read, or must not be trained on as it is.
        MachineError: the trainer does not work.
    """
    report, _ = check_data(data, kept=True)
    if report.refusal:
        raise DataError(report.refusal)
    return next(advice for advice in report.advice if advice.about == "model")


def _run(command: list[str], said: TextIO, hear: Hear) -> Cleaned | None:
    cleaned: Cleaned | None = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True) as child:
        try:
            for line in child.stdout or ():
                message = json.loads(line)
                if "cleaned" in message:
                    cleaned = Cleaned(**message["cleaned"])
                else:
                    hear(message["step"], message["done"], message["total"])
        except BaseException:  # a signal, most likely: nobody reads on
            os.killpg(child.pid, signal.SIGKILL)
            raise
    said.seek(0)
    lines = said.read().strip().splitlines()
    if child.returncode == 1 and len(lines) == 1:
        raise DataError(lines[0])
    if child.returncode:
        last = lines[-1] if lines else f"exit code {child.returncode}"
        raise MachineError(f"The trainer cannot check data: {last}. `tune doctor` looks for the cause.")
    return cleaned
