"""Diagnose a finished or running training by the rules of the training guide: conditions, evidence, changes.

Only `reading` touches files; everything else is pure functions, without training, search or clock.
"""

from tuner.diagnosis.curves import epoch_seconds
from tuner.diagnosis.diagnosis import Diagnosis, diagnose
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.reading import read_run
from tuner.diagnosis.runs import Run, RunEpoch
from tuner.diagnosis.summary import finding_lines, summary_lines

__all__ = [
    "Condition",
    "Diagnosis",
    "Finding",
    "Run",
    "RunEpoch",
    "diagnose",
    "epoch_seconds",
    "finding_lines",
    "read_run",
    "summary_lines",
]
