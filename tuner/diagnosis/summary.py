"""A run in a line or two, for the end of a longer report."""

from pathlib import Path

from tuner.diagnosis.diagnosis import Diagnosis, diagnose
from tuner.diagnosis.grade import TARGET_EPOCHS
from tuner.diagnosis.reading import read_run
from tuner.exceptions import TunerError


def summary(folder: Path) -> tuple[str, ...]:
    """How good the run in a folder is by the guide's marks, and what is wrong with it; nothing where there is none."""
    diagnosis = _diagnosis(folder)
    if diagnosis is None or diagnosis.grade is None:
        return _findings(diagnosis)
    meant = f", which are for {TARGET_EPOCHS} epochs and more" if diagnosis.run.last_epoch < TARGET_EPOCHS else ""
    return (f"by the training guide's marks{meant}: {diagnosis.grade.mark}", *_findings(diagnosis))


def findings(folder: Path) -> tuple[str, ...]:
    """What is wrong with the run in a folder, a line each; nothing where nothing is, or there is no run."""
    return _findings(_diagnosis(folder))


def _findings(diagnosis: Diagnosis | None) -> tuple[str, ...]:
    found = () if diagnosis is None else diagnosis.findings
    return tuple(f"{finding.condition}: {finding.evidence}; {finding.advice}" for finding in found)


def _diagnosis(folder: Path) -> Diagnosis | None:
    try:
        return diagnose(read_run(folder))
    except TunerError:
        return None
