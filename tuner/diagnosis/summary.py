"""Summarise a run in a line or two, for the end of a longer report."""

from pathlib import Path

from tuner.diagnosis.diagnosis import Diagnosis, diagnose
from tuner.diagnosis.grade import TARGET_EPOCHS
from tuner.diagnosis.reading import read_run
from tuner.exceptions import TunerError


def summary_lines(folder: Path) -> tuple[str, ...]:
    """Grade the run in a folder by the guide's marks, and list what is wrong with it; empty if there is no run."""
    diagnosis = _diagnosis(folder)
    if diagnosis is None or diagnosis.grade is None:
        return _findings(diagnosis)
    meant = f", which apply from {TARGET_EPOCHS} epochs" if diagnosis.run.last_epoch < TARGET_EPOCHS else ""
    return (f"mark by the training guide's targets{meant}: {diagnosis.grade.mark}", *_findings(diagnosis))


def finding_lines(folder: Path) -> tuple[str, ...]:
    """List what is wrong with the run in a folder, one line each; empty if nothing is, or if there is no run."""
    return _findings(_diagnosis(folder))


def _findings(diagnosis: Diagnosis | None) -> tuple[str, ...]:
    found = () if diagnosis is None else diagnosis.findings
    return tuple(f"{finding.condition}: {finding.evidence}; {finding.advice}" for finding in found)


def _diagnosis(folder: Path) -> Diagnosis | None:
    try:
        return diagnose(read_run(folder))
    except TunerError:
        return None
