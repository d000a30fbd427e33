"""A run in a line or two, for the end of a longer report."""

from pathlib import Path

from tuner.diagnosis.diagnosis import diagnose
from tuner.diagnosis.grade import TARGET_EPOCHS
from tuner.diagnosis.reading import read_run
from tuner.exceptions import TunerError


def summary(folder: Path) -> tuple[str, ...]:
    """How good the run in a folder is by the guide's marks, and what is wrong with it; nothing where there is none."""
    try:
        diagnosis = diagnose(read_run(folder))
    except TunerError:
        return ()
    lines = [f"{found.condition}: {found.evidence}; {found.advice}" for found in diagnosis.findings]
    if diagnosis.grade is not None:
        meant = f", which are for {TARGET_EPOCHS} epochs and more" if diagnosis.run.last_epoch < TARGET_EPOCHS else ""
        lines.insert(0, f"by the training guide's marks{meant}: {diagnosis.grade.mark}")
    return tuple(lines)
