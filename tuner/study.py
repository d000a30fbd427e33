"""The study record: the only door to the database.

A study is an Optuna study in a relational database, so Optuna's own tools and dashboard read it. What a restart
needs is in it, or in files that it names. Only one driver writes at a time (see `tuner.lease`).
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.contract import EpochRecord, ParamValue
from tuner.database import masked, open_storage, sqlite_path, translated
from tuner.exceptions import StorageProblem, UsageError
from tuner.space import Space

_SPEC = "spec"
_PROMOTION = "promotion"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySpec:
    """What a study is about; fixed when it begins."""

    space_name: str
    space: Mapping[str, Any]
    """`Space.canonical()`."""
    metric: str
    model: str
    """As the user named it."""
    model_source: str
    """As trials are given it."""
    portable_model: str
    """As a stock `yolo` command can be given it."""
    data: str
    """As the user named it."""
    data_source: str
    """As trials are given it."""
    data_sha256: str
    num_classes: int
    num_images: Mapping[str, int]
    num_parameters: int
    epochs: int
    rungs: tuple[int, ...]
    reduction_factor: int
    promote_epochs: int
    seed: int
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial as the database has it."""

    number: int
    state: TrialState
    value: float | None
    """Metric at the last epoch of a COMPLETE trial."""
    curve: Mapping[int, float]
    """Metric by validated epoch, 1-based."""
    sampled: Mapping[str, ParamValue]
    """What the sampler chose, by the names in the database."""
    params: Mapping[str, ParamValue]
    """Every hyper-parameter that the trainer was given."""
    reason: str
    """Why it ended, when it is PRUNED or FAIL."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that was noted: batch, seconds, device, checkpoint, directory, log, metrics."""
    began: datetime | None = None
    ended: datetime | None = None

    @property
    def is_baseline(self) -> bool:
        return self.number == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A configuration to train now."""

    number: int
    params: dict[str, ParamValue]


class Study:
    """One study in one database.

    Every method raises StorageProblem when the database cannot be reached or refuses.
    """

    def __init__(self, study: optuna.Study, url: str) -> None:
        self._study = study
        self._storage = study._storage  # Optuna offers no public way to set a trial's state or attributes by id
        self._url = url
        self._ids: dict[int, int] = {}

    @classmethod
    def open_or_create(cls, url: str, name: str, spec: StudySpec) -> "Study":
        """The study of that name, begun now with `spec` if there is none. An existing one keeps its own spec."""
        with translated(url):
            study = optuna.create_study(
                storage=open_storage(url), study_name=name, direction="maximize", load_if_exists=True
            )
            if _SPEC not in study.user_attrs:
                _refuse_foreign(study)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names([spec.metric])
                study.set_user_attr(_SPEC, asdict(spec))
            return cls(study, url)

    @classmethod
    def open(cls, url: str, name: str) -> "Study":
        """An existing study; creates nothing.

        Raises:
            UsageError: there is no such study.
        """
        path = sqlite_path(url)
        if path is not None and not path.exists():
            raise UsageError(f"There is no study '{name}': nothing at '{path}'. `tune status` lists the studies.")
        with translated(url):
            try:
                return cls(optuna.load_study(storage=open_storage(url), study_name=name), url)
            except KeyError as error:
                raise UsageError(f"There is no study '{name}' in {masked(url)}.") from error

    @property
    def name(self) -> str:
        return self._study.study_name

    @property
    def storage(self) -> BaseStorage:
        """Optuna's storage, for Optuna's own tools to read."""
        return self._storage

    @property
    def spec(self) -> StudySpec:
        with translated(self._url):
            stored = self._study.user_attrs.get(_SPEC)
        if stored is None:
            raise StorageProblem(_foreign(self.name))
        return StudySpec(**{**stored, "rungs": tuple(stored["rungs"])})

    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials by number."""
        with translated(self._url):
            frozen = self._study.get_trials(deepcopy=False)
        return tuple(_record(trial) for trial in frozen)

    def enqueue(self, sampled: Mapping[str, ParamValue]) -> None:
        """Let these values be the next proposal."""
        with translated(self._url):
            self._study.enqueue_trial(dict(sampled))

    def ask(self, sampler: BaseSampler, space: Space) -> Proposal:
        """The next configuration: a waiting trial if there is one (enqueued, or interrupted), else a new one."""
        with translated(self._url):
            self._study.sampler = sampler
            trial = self._study.ask()
            params = space.resolve(space.suggest(trial))
            trial.set_user_attr("params", params)
            self._ids[trial.number] = trial._trial_id
            return Proposal(number=trial.number, params=params)

    def note_start(self, number: int, device: str, directory: Path) -> None:
        """A trainer has begun the trial."""
        self._note(number, device=device, directory=str(directory), log=str(directory / "trainer.log"))

    def record_epoch(self, number: int, record: EpochRecord, value: float | None) -> None:
        """Write one epoch; a value that is already there stays (a restarted trainer repeats itself)."""
        with translated(self._url):
            known = self._storage.get_trial(self._id(number)).intermediate_values
            if value is not None and record.epoch not in known:
                self._storage.set_trial_intermediate_value(self._id(number), record.epoch, value)

    def finish(
        self,
        number: int,
        state: TrialState,
        *,
        value: float | None = None,
        reason: str = "",
        **attributes: Any,
    ) -> None:
        """Close a trial; one that is already closed stays as it is."""
        with translated(self._url):
            if self._storage.get_trial(self._id(number)).state.is_finished():
                return
        self._note(number, **attributes, **({"reason": reason} if reason else {}))
        with translated(self._url):
            self._study.tell(number, value, state=state)

    def requeue(self, number: int) -> None:
        """Put an interrupted trial back in the queue: the next `ask` hands it out again, under the same number."""
        with translated(self._url):
            self._storage.set_trial_state_values(self._id(number), state=TrialState.WAITING)

    def requeue_running(self) -> int:
        """Put back what a dead driver left RUNNING. Returns how many. Only for the driver that holds the lease."""
        running = [trial.number for trial in self.trials() if trial.state == TrialState.RUNNING]
        for number in running:
            self.requeue(number)
        return len(running)

    @property
    def promotion(self) -> dict[str, Any]:
        """What is known of the promoted run; empty before there is one."""
        with translated(self._url):
            return dict(self._study.user_attrs.get(_PROMOTION, {}))

    def begin_promotion(self, **facts: Any) -> None:
        """A promoted run begins, or goes on: what was known of the last one is replaced."""
        with translated(self._url):
            self._study.set_user_attr(_PROMOTION, facts)

    def note_promotion(self, **facts: Any) -> None:
        """Add to what is known of the promoted run."""
        with translated(self._url):
            self._study.set_user_attr(_PROMOTION, {**self.promotion, **facts})

    def _note(self, number: int, **attributes: Any) -> None:
        with translated(self._url):
            for key, value in attributes.items():
                self._storage.set_trial_user_attr(self._id(number), key, _jsonable(value))

    def _id(self, number: int) -> int:
        if number not in self._ids:
            self._ids.update({t.number: t._trial_id for t in self._study.get_trials(deepcopy=False)})
        return self._ids[number]


def best_trial(trials: tuple[TrialRecord, ...]) -> TrialRecord | None:
    """The COMPLETE trial of the highest value; the earlier one of two equals."""
    complete = [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
    return max(complete, key=lambda t: (t.value, -t.number), default=None)


def standing(trials: tuple[TrialRecord, ...]) -> str:
    """The best so far and how far it is from the default configuration, in a few words."""
    best = best_trial(trials)
    if best is None or best.value is None:
        return "no trial has run to its end yet"
    text = f"best {best.value:.4f} (trial {best.number}"
    if best.is_baseline:
        return f"{text}, the default configuration)"
    baseline = next((t.value for t in trials if t.is_baseline and t.value is not None), None)
    return f"{text})" if baseline is None else f"{text}), {best.value - baseline:+.4f} over the default configuration"


def _foreign(name: str) -> str:
    return f"The study '{name}' was not made by tune: it has no record of its space. Choose another name with --study."


def _refuse_foreign(study: optuna.Study) -> None:
    """A study without our record is ours to begin only when nobody has put anything in it."""
    if study.direction != optuna.study.StudyDirection.MAXIMIZE or study.get_trials(deepcopy=False):
        raise StorageProblem(_foreign(study.study_name))


def _jsonable(value: Any) -> Any:
    """As Optuna can store it: tuples as lists, and a number that is none as its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, list | tuple) else value


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes = dict(trial.user_attrs)
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        value=trial.values[0] if trial.state == TrialState.COMPLETE else None,
        curve=dict(trial.intermediate_values),
        sampled=dict(trial.params),
        params=attributes.pop("params", {}),
        reason=attributes.pop("reason", ""),
        attributes=attributes,
        began=trial.datetime_start,
        ended=trial.datetime_complete,
    )
