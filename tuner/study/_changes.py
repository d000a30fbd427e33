"""Describe the changes of a study and apply them to its database.

Each change is complete in itself: after a crash, it is applied again as a whole or not at all.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import StudyModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState, create_trial

from tuner.contract import ParamValue
from tuner.exceptions import StudyChangedError

_ENQUEUED = "fixed_params"
"""System attribute in which Optuna stores the parameters given to `study.enqueue_trial`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Change of a trial or of the study itself; applying it twice has the same effect as applying it once.

    All values are plain JSON; NaN and infinities are written as Python's `json` writes them.
    """

    trial: int | None = None
    """Number of the trial; None for the study."""
    params: Mapping[str, ParamValue] | None = None
    """Values that the sampler chose, if the change starts the trial."""
    distributions: Mapping[str, str] | None = None
    """Distributions of these values, as Optuna's JSON."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Metric by epoch."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    system_attributes: Mapping[str, Any] = field(default_factory=dict)
    """Internal attributes of the samplers."""
    state: str = ""
    """Name of the trial's new state; "" if the state does not change."""
    values: tuple[float, ...] | None = None

    @classmethod
    def whole(cls, trial: FrozenTrial) -> "Change":
        """Create the change that adds a trial as it is."""
        return cls(
            trial=trial.number,
            params=dict(trial.params),
            distributions={name: distribution_to_json(d) for name, d in trial.distributions.items()},
            curve=dict(trial.intermediate_values),
            attributes=dict(trial.user_attrs),
            system_attributes=dict(trial.system_attrs),
            state=trial.state.name,
            values=None if trial.values is None else tuple(trial.values),
        )

    def encoded(self) -> str:
        """Encode the change as one line of JSON."""
        nothing = asdict(Change())
        body = {name: value for name, value in asdict(self).items() if value != nothing[name]}
        return json.dumps(body, separators=(",", ":"))

    @classmethod
    def decoded(cls, line: str) -> "Change":
        """Decode a change from one line.

        Raises:
            ValueError: The line is not a change.
        """
        body = json.loads(line)
        try:
            body["curve"] = {int(epoch): value for epoch, value in body.get("curve", {}).items()}
            body["values"] = tuple(body["values"]) if "values" in body else None
            return cls(**body)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a change: {line[:200]!r}") from error


class Replica:
    """Study in a database that applies the changes of its driver."""

    def __init__(self, storage: RDBStorage, study: str) -> None:
        self._storage = storage
        self._study_id = storage.get_study_id_from_name(study)
        self._trial_ids: dict[int, int] = {}

    def follow(self, change: Change) -> None:
        """Apply one change.

        Raises:
            StudyChangedError: Another program has changed the study, so the change no longer applies.
            Exception: Any error of Optuna or SQLAlchemy; the change can be retried.
        """
        try:
            if change.trial is None:
                for key, value in change.attributes.items():
                    self._storage.set_study_user_attr(self._study_id, key, value)
            else:
                self._follow_trial(change, change.trial)
        except UpdateFinishedTrialError:
            return  # the trial is already closed; the state is written last, so nothing of this change is missing
        except KeyError as error:
            what = "the study" if change.trial is None else f"trial {change.trial}, or the whole study"
            raise StudyChangedError(
                f"Another program has removed {what}. Stop it and run the same command again."
            ) from error

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
            raise StudyChangedError(
                f"Another program has removed trial {number} from the study. Stop it and run the same command again."
            )
        if number > 0 and self._found(number - 1) is None:  # the new trial would get another number
            raise StudyChangedError(
                f"Another program has removed trial {number - 1} from the study. "
                "Stop it and run the same command again."
            )
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
        """Insert a trial in one transaction without a retry; return its ID and number.

        `create_new_trial` retries on its own. If the server died between its commit and its reply, the trial would
        exist twice. Our own retry looks for the trial first.
        """
        with _create_scoped_session(self._storage.scoped_session) as session:
            StudyModel.find_or_raise_by_id(self._study_id, session, for_update=True)
            created = self._storage._get_prepared_new_trial(self._study_id, trial, session)
            session.flush()
            return int(created.trial_id), int(created.number)

    def _begin_found(self, change: Change, trial_id: int) -> None:
        """Check that the trial with our number is ours, and write its missing parameters.

        An earlier attempt at this change created it, or it was enqueued with Optuna's own tools and starts now.
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


def _added(number: int) -> StudyChangedError:
    return StudyChangedError(
        f"Another program has added trials to the study during the run: trial {number} is not from this run. "
        "Stop it and run the same command again."
    )
