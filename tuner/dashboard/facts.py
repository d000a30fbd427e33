"""Read everything that the dashboard shows about one study, at one time."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property

from optuna.trial import TrialState

from tuner.comparison.record import Reevaluated, reevaluated
from tuner.exceptions import NoSuccessfulTrialError
from tuner.study import Span, StoredStudy, StudyPaths, StudySnapshot, TrialRecord, read_timeline
from tuner.training.final_run import Winner, choose_winner

SEARCH = "search"
"""Phase of the timeline that trains trials."""


@dataclass(frozen=True, kw_only=True)
class StudyFacts(StudySnapshot):
    """State of a study with what only the dashboard shows. What takes time to derive is derived once."""

    spans: tuple[Span, ...]
    """What each slot trained and when; empty for studies of earlier versions."""
    paths: StudyPaths
    url: str
    """URL of the database."""

    @cached_property
    def winner(self) -> Winner | None:
        """Choice for the final run; None as long as no trial is complete."""
        try:
            return choose_winner(self)
        except NoSuccessfulTrialError:
            return None

    @cached_property
    def comparison(self) -> Reevaluated | None:
        """Re-evaluation so far; None if there is none."""
        return reevaluated(self)

    @cached_property
    def last_spans(self) -> Mapping[int, Span]:
        """Last attempt at each trial in the search; without those that are not recorded."""
        return {span.trial: span for span in self.spans if span.phase == SEARCH}

    @property
    def is_final_run_cut_off(self) -> bool:
        """Check whether there is a final run that has not ended and that nobody trains."""
        unended = (TrialState.RUNNING.name, TrialState.WAITING.name)
        return self.driver is None and self.final_run is not None and self.final_run.state in unended

    def state(self, trial: TrialRecord) -> TrialState:
        """Return the state of a trial; one that nobody trains any more is not running but waits."""
        is_cut_off = trial.state == TrialState.RUNNING and self.driver is None
        return TrialState.WAITING if is_cut_off else trial.state


def read_facts(study: StoredStudy, paths: StudyPaths) -> StudyFacts:
    """Read a study.

    Raises:
        StorageError: The database cannot be used, or its record of the study is incomplete.
    """
    recorded = study.snapshot()
    facts = StudyFacts(
        **{field.name: getattr(recorded, field.name) for field in fields(recorded)},
        spans=read_timeline(paths.timeline),
        paths=paths,
        url=study.url,
    )
    facts.comparison  # noqa: B018 - a damaged record must fail here, where its error is reported
    return facts
