"""Changes of a study: each complete in itself, so that a crash leaves all of it to be done or nothing."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import StudyModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.contract import ParamValue
from tuner.exceptions import StudyChanged

_ENQUEUED = "fixed_params"
"""Optuna's name for what `study.enqueue_trial` was given, among the system attributes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One step of a trial, or of the study itself. Carried out twice, it changes nothing more.

    Everything in it is plain JSON; NaN and infinities are as Python's `json` writes them.
    """

    trial: int | None = None
    """Number of the trial; none for the study."""
    params: Mapping[str, ParamValue] | None = None
    """What the sampler chose, where the trial begins."""
    distributions: Mapping[str, str] | None = None
    """From what it chose, as Optuna's JSON."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Metric by epoch."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    system_attributes: Mapping[str, Any] = field(default_factory=dict)
    """What samplers note for themselves."""
    state: str = ""
    """Name of the state that the trial is in from now on; "" where it stays."""
    values: tuple[float, ...] | None = None

    def encoded(self) -> str:
        """One line of JSON."""
        nothing = asdict(Change())
        body = {name: value for name, value in asdict(self).items() if value != nothing[name]}
        return json.dumps(body, separators=(",", ":"))

    @classmethod
    def decoded(cls, line: str) -> "Change":
        """The change on one line.

        Raises:
            ValueError: there is none.
        """
        body = json.loads(line)
        try:
            body["curve"] = {int(epoch): value for epoch, value in body.get("curve", {}).items()}
            body["values"] = tuple(body["values"]) if "values" in body else None
            return cls(**body)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a change: {line[:200]!r}") from error


class Replica:
    """One study in a database, which follows the changes."""

    def __init__(self, storage: RDBStorage, study: str) -> None:
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study)
        self._trial_ids: dict[int, int] = {}

    def follow(self, change: Change) -> None:
        """Carry out one change.

        Raises:
            StudyChanged: another program has changed the study, so that the change has lost its meaning.
            Exception: what Optuna and SQLAlchemy raise; the change can be tried again.
        """
        try:
            if change.trial is None:
                for key, value in change.attributes.items():
                    self._storage.set_study_user_attr(self._study_id, key, value)
            else:
                self._follow_trial(change, change.trial)
        except UpdateFinishedTrialError:
            return  # the state comes last: whoever closed the trial, nothing of ours is missing or wanted
        except KeyError as error:
            what = "the study" if change.trial is None else f"trial {change.trial}, or the whole study"
            raise StudyChanged(f"Another program has removed {what}.") from error

    def _follow_trial(self, change: Change, number: int) -> None:
        if number not in self._trial_ids:
            self._trial_ids[number] = self._identified(change, number)
        storage, trial_id = self._storage, self._trial_ids[number]
        for epoch, value in change.curve.items():
            storage.set_trial_intermediate_value(trial_id, epoch, value)
        for key, value in change.attributes.items():
            storage.set_trial_user_attr(trial_id, key, value)
        for key, value in change.system_attributes.items():
            storage.set_trial_system_attr(trial_id, key, value)
        if change.state:
            storage.set_trial_state_values(trial_id, TrialState[change.state], change.values)

    def _identified(self, change: Change, number: int) -> int:
        trial_id = self._found(number)
        if trial_id is None:
            return self._created(change, number)
        if change.params is not None:
            self._begin_found(change, trial_id)
        return trial_id

    def _found(self, number: int) -> int | None:
        try:
            return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        except KeyError:
            return None

    def _created(self, change: Change, number: int) -> int:
        if change.params is None or change.distributions is None:
            raise StudyChanged(f"Another program has removed trial {number} from the study.")
        if number > 0 and self._found(number - 1) is None:  # it would get another number
            raise StudyChanged(f"Another program has removed trial {number - 1} from the study.")
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(change.params),
            distributions={name: json_to_distribution(text) for name, text in change.distributions.items()},
            user_attrs=dict(change.attributes),
            system_attrs=dict(change.system_attributes),
        )
        trial_id, created_number = self._insert(trial)
        if created_number != number:
            raise _added(number)
        return trial_id

    def _insert(self, trial: FrozenTrial) -> tuple[int, int]:
        """Id and number of a new trial, in one transaction that is tried once.

        `create_new_trial` tries again by itself: when a server dies between its commit and its reply, the trial
        would be there twice. Whoever tries again here looks for the trial first.
        """
        with _create_scoped_session(self._storage.scoped_session) as session:
            StudyModel.find_or_raise_by_id(self._study_id, session, for_update=True)
            created = self._storage._get_prepared_new_trial(self._study_id, trial, session)
            session.flush()
            return int(created.trial_id), int(created.number)

    def _begin_found(self, change: Change, trial_id: int) -> None:
        """Make sure that the trial with our number is ours, and has the parameters that were chosen for it.

        It was created by this very change earlier, or it was enqueued with Optuna's own means and is taken up now.
        """
        assert change.params is not None
        assert change.distributions is not None
        stored = self._storage.get_trial(trial_id)
        if stored.params == change.params:
            return
        is_taken_up = (
            stored.state == TrialState.WAITING
            and stored.system_attrs.get(_ENQUEUED) == change.system_attributes.get(_ENQUEUED)
            and stored.params.items() <= change.params.items()
        )
        if not is_taken_up:
            raise _added(stored.number)
        for name in change.params.keys() - stored.params.keys():
            distribution = json_to_distribution(change.distributions[name])
            value = distribution.to_internal_repr(change.params[name])
            self._storage.set_trial_param(trial_id, name, value, distribution)


def _added(number: int) -> StudyChanged:
    return StudyChanged(
        f"Another program has added trials to the study while it ran: trial {number} is not ours. "
        "Run it again, with nothing else writing to it."
    )
