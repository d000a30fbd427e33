"""Present a study to Optuna's dashboard: Optuna's record with our notes, attributes, states and files."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypedDict

from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from tuner.dashboard.artifacts import Artifact, study_artifacts, trial_artifacts
from tuner.dashboard.attributes import study_attributes, trial_attributes
from tuner.dashboard.facts import StudyFacts
from tuner.dashboard.markdown import escaped
from tuner.dashboard.notes import study_note, trial_note
from tuner.dashboard.own_notes import NO_NOTE, OwnNote, combined, is_note, own_notes
from tuner.study import TrialRecord, other_attributes

_METRIC_NAMES = "study:metric_names"
_NOTE_VERSION, _NOTE_TEXT = "dashboard:note_ver", "dashboard:note_str:0"
_ARTIFACT = "artifacts:"
_FIXED_PARAMS = "fixed_params"
"""Names that Optuna and its dashboard give to system attributes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """Numbers that Optuna's dashboard uses for a study and its trials."""

    study: int
    first_trial: int
    """Number of trial 0; the others follow."""


class ShownNote(TypedDict):
    """Note in the form of Optuna's dashboard."""

    version: int
    body: str


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """Study as the dashboard shows it. What only its own pages need is derived when it is asked for."""

    study: FrozenStudy
    numbers: Numbers
    facts: StudyFacts | None
    """None for a study that cannot be read, which has no trials."""

    @cached_property
    def trials(self) -> tuple[FrozenTrial, ...]:
        """Trials, ordered by number."""
        if self.facts is None:
            return ()
        pairs = zip(self.facts.frozen, self.facts.records, strict=True)
        return tuple(
            _trial(self.facts, trial, record, self.numbers, self._of_trials[record.number]) for trial, record in pairs
        )

    @cached_property
    def artifacts(self) -> Mapping[str, Artifact]:
        """Artifacts of the study and its trials by their key."""
        if self.facts is None:
            return {}
        everything = (study_artifacts(self.facts), *self._of_trials.values())
        return {artifact.key: artifact for some in everything for artifact in some}

    def trial(self, trial: int) -> FrozenTrial:
        """Return the trial of this number in the dashboard.

        Raises:
            KeyError: There is none.
        """
        try:
            return self.trials[trial - self.numbers.first_trial]
        except IndexError:
            raise KeyError(trial) from None

    def trial_note(self, trial: int) -> ShownNote:
        """Return the note on the trial of this number in the dashboard; empty in a study that cannot be read."""
        if self.facts is None:
            return {"version": 0, "body": ""}
        number = trial - self.numbers.first_trial
        written = self._own_notes.get(self.facts.frozen[number]._trial_id, NO_NOTE)
        files = _files(self._of_trials[number], f"/artifacts/{self.numbers.study}/{trial}")
        text = trial_note(self.facts, self.facts.records[number], files)
        return {"version": written.version, "body": combined(text, written)}

    @cached_property
    def _of_trials(self) -> Mapping[int, tuple[Artifact, ...]]:
        """Artifacts of each trial, by its number in the study."""
        facts = self.facts
        return {} if facts is None else {record.number: trial_artifacts(facts, record) for record in facts.records}

    @cached_property
    def _own_notes(self) -> Mapping[int | None, OwnNote]:
        return {} if self.facts is None else own_notes(self.facts.system_attributes)


def study_view(facts: StudyFacts, numbers: Numbers) -> StudyView:
    """Return the view of a study that can be read."""
    own = own_notes(facts.system_attributes).get(None, NO_NOTE)
    trials_at, offered = f"/dashboard/studies/{numbers.study}/trials", study_artifacts(facts)
    study = FrozenStudy(
        study_name=facts.name,
        direction=StudyDirection.MAXIMIZE,
        user_attrs={**study_attributes(facts), **facts.other_attributes},
        system_attrs={
            **_kept(facts.system_attributes),
            _METRIC_NAMES: [facts.spec.metric],
            **_note(study_note(facts, trials_at, _files(offered, f"/artifacts/{numbers.study}")), own),
            **_listed(offered),
        },
        study_id=numbers.study,
    )
    return StudyView(study=study, numbers=numbers, facts=facts)


def unreadable_view(name: str, problem: str, numbers: Numbers) -> StudyView:
    """Return the view of a study that cannot be read: no trials, and a note with the reason."""
    study = FrozenStudy(
        study_name=name,
        direction=StudyDirection.MAXIMIZE,
        user_attrs={"state": f"unreadable: {problem}"},
        system_attrs=_note(f"**This study cannot be read**: {escaped(problem)}"),
        study_id=numbers.study,
    )
    return StudyView(study=study, numbers=numbers, facts=None)


def _trial(
    facts: StudyFacts, trial: FrozenTrial, record: TrialRecord, numbers: Numbers, artifacts: Iterable[Artifact]
) -> FrozenTrial:
    state = facts.state(record)
    # The dashboard shows only fixed parameters of a waiting trial; a paused one has all of its own.
    fixed = {_FIXED_PARAMS: trial.params} if state == TrialState.WAITING and trial.params else {}
    return FrozenTrial(
        number=trial.number,
        state=state,
        value=None,
        values=trial.values,
        datetime_start=_aware(trial.datetime_start),
        datetime_complete=_aware(trial.datetime_complete),
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**trial_attributes(facts, record), **other_attributes(trial.user_attrs)},
        system_attrs={**_kept(trial.system_attrs), **fixed, **_listed(artifacts)},
        intermediate_values=trial.intermediate_values,
        trial_id=numbers.first_trial + trial.number,
    )


def _aware(time: datetime | None) -> datetime | None:
    """Return a time of Optuna, which is in UTC, with its zone; a browser takes one without a zone as local."""
    return None if time is None else time.replace(tzinfo=UTC)


def _note(text: str, own: OwnNote = NO_NOTE) -> dict[str, Any]:
    """Return the attributes that hold the note on a study."""
    return {_NOTE_VERSION: own.version, _NOTE_TEXT: combined(text, own)}


def _files(artifacts: Iterable[Artifact], at: str) -> dict[str, str]:
    """Return the addresses of artifacts by their name."""
    return {artifact.name: f"{at}/{artifact.key}" for artifact in artifacts}


def _kept(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return system attributes without notes and artifacts, which the view has under other numbers."""
    return {name: value for name, value in attributes.items() if not is_note(name) and _ARTIFACT not in name}


def _listed(artifacts: Iterable[Artifact]) -> dict[str, str]:
    """Return the attributes that list artifacts."""
    return {
        f"{_ARTIFACT}{artifact.key}": json.dumps(
            {
                "artifact_id": artifact.key,
                "filename": artifact.name,
                "mimetype": artifact.media_type,
                "encoding": None,
            }
        )
        for artifact in artifacts
    }
