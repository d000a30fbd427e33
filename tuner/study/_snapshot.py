"""A study as it is recorded at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from tuner.study._facts import FinalRunFacts, ProfilingFacts
from tuner.study._records import StudySpec, TrialRecord


@dataclass(frozen=True, kw_only=True)
class StudySnapshot:
    """State of a study, read once; a `ReadableStudy` whose parts do not change while they are used."""

    name: str
    spec: StudySpec
    records: tuple[TrialRecord, ...]
    """Trials, ordered by number."""
    final_run: FinalRunFacts | None
    reevaluation: dict[str, Any]
    profiling: ProfilingFacts
    command: tuple[str, ...]
    searched_s: float
    frozen: tuple[FrozenTrial, ...]
    """The same trials as Optuna stores them."""
    other_attributes: Mapping[str, Any]
    """User attributes that tune did not write."""
    system_attributes: Mapping[str, Any]
    """Attributes of Optuna and its dashboard, such as notes that users wrote."""
    driver: str | None
    """Process that drives the study, for people; None if there is none."""

    def trials(self) -> tuple[TrialRecord, ...]:
        """Return all trials, ordered by number."""
        return self.records
