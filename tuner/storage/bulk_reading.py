"""Read whole studies from Optuna's tables, many times faster than Optuna does.

Optuna makes an object of SQLAlchemy's of every row: of each value, parameter and attribute of each trial. For studies
with thousands of trials, that takes most of the time of a command. Here, plain rows of the same tables are read, with
one query for each table.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Set
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, inspect, select, text

from tuner.system.garbage import collection_paused

_REVISIONS = ("revision", "down_revision")
"""Names of a version of the tables and of the one before it, in Alembic's scripts."""
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
            trials = read_trials(connection, study_id, named, above=trial_id_greater_than)
        return [trial for trial in trials if states is None or trial.state in states]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return all trials of a study; they are always new objects, so there is nothing to copy."""
        return self._get_trials(study_id, states, set(), -1)


class StudyRow(NamedTuple):
    """A study without its trials."""

    study_id: int
    directions: tuple[StudyDirection, ...]
    user_attributes: dict[str, Any]
    system_attributes: dict[str, Any]

    @property
    def metric_names(self) -> list[str]:
        """Names of what is optimised; empty if they are not recorded."""
        return list(self.system_attributes.get(_SYSTEM_ATTR_METRIC_NAMES) or ())


def names_with(connection: Connection, key: str) -> set[str]:
    """Return the names of the studies that have a user attribute of this name."""
    attribute = models.StudyUserAttributeModel.__table__
    query = select(_STUDY.c.study_name).join(attribute, attribute.c.study_id == _STUDY.c.study_id)
    return set(connection.execute(query.where(attribute.c.key == key)).scalars())


def has_studies(engine: Engine) -> bool:
    """Check whether a database has Optuna's tables."""
    return inspect(engine).has_table(_STUDY.name)


def has_newest_tables(engine: Engine) -> bool:
    """Check without Alembic whether the tables have the version that this Optuna needs; False if that is unknown."""
    versions = Path(models.__file__).with_name("alembic") / "versions"
    scripts = "".join(script.read_text(encoding="utf-8") for script in versions.glob("*.py"))
    newest, older = (set(re.findall(rf'^{name} = "(.+)"$', scripts, re.MULTILINE)) for name in _REVISIONS)
    if not inspect(engine).has_table("alembic_version"):
        return False
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return set(found) == newest - older


def read_study(connection: Connection, name: str) -> StudyRow | None:
    """Return the study of this name with its attributes; None if there is none."""
    number = connection.execute(select(_STUDY.c.study_id).where(_STUDY.c.study_name == name)).scalar()
    if number is None:
        return None
    directions = _of_study(models.StudyDirectionModel, number, "direction").order_by("objective")
    user, system = (
        {key: json.loads(value) for key, value in connection.execute(_of_study(model, number, "key", "value_json"))}
        for model in (models.StudyUserAttributeModel, models.StudySystemAttributeModel)
    )
    return StudyRow(number, tuple(connection.execute(directions).scalars()), user, system)


def read_trials(
    connection: Connection, study_id: int, named: Set[int] = frozenset(), *, above: int = -1
) -> list[FrozenTrial]:
    """Return trials of a study, ordered by their ids; always new objects.

    Args:
        connection: Connection to the database.
        study_id: Optuna's number of the study.
        named: Ids to return even if they are not above the limit.
        above: Limit of the other ids.
    """
    wanted = (_TRIAL.c.study_id == study_id) & _selected(named, above)
    with collection_paused():
        trials = connection.execute(select(_TRIAL).where(wanted).order_by(_TRIAL.c.trial_id)).all()
        parts = {part: _read(connection, part, wanted) for part in (_VALUES, _CURVE, _PARAMS, _USER, _SYSTEM)}
        return [_trial(row, parts) for row in trials if row.trial_id > above or row.trial_id in named]


_STUDY, _TRIAL = models.StudyModel.__table__, models.TrialModel.__table__


def _of_study(model: Any, study_id: int, *columns: str) -> Select[Any]:
    """Return the query for columns of the rows that belong to a study."""
    table = model.__table__
    return select(*(table.c[column] for column in columns)).where(table.c.study_id == study_id)


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


_decode = json.JSONDecoder().raw_decode


def _decoded(text: str) -> Any:
    """Return the value of a JSON text, as `json.loads` does, in less time."""
    try:
        value, end = _decode(text)
    except json.JSONDecodeError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


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
_USER = _Part(models.TrialUserAttributeModel, "key", ("value_json",), "key", _decoded)
_SYSTEM = _Part(models.TrialSystemAttributeModel, "key", ("value_json",), "key", _decoded)


def _selected(named: Set[int], above: int) -> Any:
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
    rows = cursor.fetchall()  # of the driver: SQLAlchemy's rows take twice as long
    if rows:
        trials, names, *stored = zip(*rows, strict=True)
        for trial, name, value in zip(trials, names, map(part.convert, *stored), strict=True):
            found[trial][name] = value
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
