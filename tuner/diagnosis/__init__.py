"""What is wrong with a run, by the rules of the training guide: records -> conditions, evidence, changes.

Pure functions but for `reading`, which reads the records; nothing here trains, searches or knows a clock.
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
