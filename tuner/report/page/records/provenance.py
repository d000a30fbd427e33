"""Collect where a study comes from: its command, its data set and the versions that trained it."""

import platform
import shlex
from collections.abc import Mapping
from pathlib import Path

from tuner import __version__
from tuner.contract.data_report import DataReport, decode_report
from tuner.contract.run_folder import DATA_REPORT
from tuner.study import ReadableStudy, StudyPaths, StudySpec

_MOST_BYTES = 64 * 2**20
"""Largest file that is read: the check of a data set with many findings."""


def command_of(study: ReadableStudy) -> str:
    """Return the last `tune run` as a line for a shell; if it is not recorded, what the spec determines."""
    return shlex.join(["tune", *(study.command or _arguments_of(study.name, study.spec))])


def versions_of(spec: StudySpec) -> Mapping[str, str]:
    """Return the versions that the study's trainer reported when the study began."""
    return dict(sorted(spec.versions.items()))


def versions_now() -> Mapping[str, str]:
    """Return the versions of this process, which writes the report."""
    return {"mamba-yolo-tuner": __version__, "python": platform.python_version()}


def data_report_of(paths: StudyPaths) -> DataReport | None:
    """Return the data check that was made when the study began; None if there is none that can be read."""
    try:
        return decode_report(text_of(paths.root / DATA_REPORT))
    except (ValueError, RecursionError):
        return None


def text_of(file: Path) -> str:
    """Return the content of a file; empty if there is none, it is too large, or it is not valid text."""
    try:
        is_readable = file.is_file() and file.stat().st_size <= _MOST_BYTES
        return file.read_text(encoding="utf-8") if is_readable else ""
    except (OSError, ValueError):
        return ""


def _arguments_of(name: str, spec: StudySpec) -> list[str]:
    """Return the options that a spec determines; options that changed the space are not recorded as such."""
    return ["run", "--space", spec.space_name, "--data", spec.data, "--model", spec.model, "--study", name]
