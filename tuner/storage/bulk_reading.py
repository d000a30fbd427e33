"""Optuna's storage in a relational database, reading whole studies many times faster.

Optuna makes an object of SQLAlchemy's of every row: of each value, parameter and attribute of each trial. For studies
with thousands of trials, that takes most of the time of a command. Here, plain rows of the same tables are read, with
one query for each table.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Container, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Row, select

_MOST_NAMED = 500
"""Maximum number of trials that a query names one by one; databases limit it."""


class BulkReadingStorage(RDBStorage):
    """Optuna's storage with faster reading of all trials; everything else is unchanged."""

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return trials of a study, ordered by their ids.

        Args:
            study_id: Optuna's number of the study.
            states: States of the trials to return; None for all.
            included_trial_ids: Ids to return even if they are not above the limit.
            trial_id_greater_than: Limit of the other ids.

        Raises:
            KeyError: The study does not exist.
        """
        named = {number for number in included_trial_ids if number <= trial_id_greater_than}
        with self.engine.connect() as connection:
            if connection.execute(select(_STUDY.c.study_id).where(_STUDY.c.study_id == study_id)).first() is None:
                raise KeyError(f"There is no study with the id {study_id}.")
            wanted = (_TRIAL.c.study_id == study_id) & _selected(named, trial_id_greater_than)
            trials = connection.execute(select(_TRIAL).where(wanted).order_by(_TRIAL.c.trial_id)).all()
            parts = {part: _read(connection, part, wanted) for part in (_VALUES, _CURVE, _PARAMS, _USER, _SYSTEM)}
        return [
            _trial(row, parts)
            for row in trials
            if (states is None or row.state in states)
            and (row.trial_id > trial_id_greater_than or row.trial_id in named)
        ]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return all trials of a study; they are always new objects, so there is nothing to copy."""
        return self._get_trials(study_id, states, set(), -1)


_STUDY, _TRIAL = models.StudyModel.__table__, models.TrialModel.__table__

_distribution: Callable[[str], BaseDistribution] = cache(json_to_distribution)


def _value(stored: float | None, kind: str) -> float:
    model = models.TrialValueModel
    return stored if stored is not None else model.stored_repr_to_value(stored, model.TrialValueType[kind])


def _point(stored: float | None, kind: str) -> float:
    if stored is not None:
        return stored
    model = models.TrialIntermediateValueModel
    return model.stored_repr_to_intermediate_value(stored, model.TrialIntermediateValueType[kind])


def _param(stored: float, distribution_json: str) -> tuple[Any, BaseDistribution]:
    distribution = _distribution(distribution_json)
    return distribution.to_external_repr(stored), distribution


class _Part(NamedTuple):
    """Table with a part of each trial."""

    model: Any
    name: str
    """Column that tells the rows of a trial apart."""
    stored: tuple[str, ...]
    """Columns of the value."""
    order: str
    """Column by which the rows of a trial are ordered."""
    convert: Callable[..., Any]


_VALUES = _Part(models.TrialValueModel, "objective", ("value", "value_type"), "objective", _value)
_CURVE = _Part(
    models.TrialIntermediateValueModel, "step", ("intermediate_value", "intermediate_value_type"), "step", _point
)
_PARAMS = _Part(models.TrialParamModel, "param_name", ("param_value", "distribution_json"), "param_id", _param)
_USER = _Part(models.TrialUserAttributeModel, "key", ("value_json",), "key", json.loads)
_SYSTEM = _Part(models.TrialSystemAttributeModel, "key", ("value_json",), "key", json.loads)


def _selected(named: set[int], above: int) -> Any:
    """Return the condition on the ids: above the limit, or named; too many are named by their lowest id."""
    if len(named) > _MOST_NAMED:
        return _TRIAL.c.trial_id >= min(named)
    later = _TRIAL.c.trial_id > above
    return later | _TRIAL.c.trial_id.in_(named) if named else later


def _read(connection: Connection, part: _Part, wanted: ColumnElement[bool]) -> dict[int, dict[Any, Any]]:
    """Return this part of each trial by its id: parameters as they were suggested, the rest by name or epoch."""
    table = part.model.__table__
    columns = [table.c[name] for name in ("trial_id", part.name, *part.stored)]
    query = select(*columns).join(_TRIAL, _TRIAL.c.trial_id == table.c.trial_id).where(wanted)
    cursor = connection.execute(query.order_by(table.c[part.order])).cursor
    assert cursor is not None
    found: dict[int, dict[Any, Any]] = defaultdict(dict)
    for trial, name, *stored in cursor.fetchall():  # of the driver: SQLAlchemy's rows take twice as long
        found[trial][name] = part.convert(*stored)
    return found


def _trial(row: Row[Any], parts: Mapping[_Part, Mapping[int, dict[Any, Any]]]) -> FrozenTrial:
    values, params = parts[_VALUES].get(row.trial_id), parts[_PARAMS].get(row.trial_id, {})
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        values=None if values is None else [values[objective] for objective in sorted(values)],
        datetime_start=_local(row.datetime_start),
        datetime_complete=_local(row.datetime_complete),
        params={name: value for name, (value, _) in params.items()},
        distributions={name: distribution for name, (_, distribution) in params.items()},
        user_attrs=parts[_USER].get(row.trial_id, {}),
        system_attrs=parts[_SYSTEM].get(row.trial_id, {}),
        intermediate_values=parts[_CURVE].get(row.trial_id, {}),
        trial_id=row.trial_id,
    )


def _local(stored: datetime | None) -> datetime | None:
    """Return the local time of a stored one, which is UTC; both have no time zone."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
