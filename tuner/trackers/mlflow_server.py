"""Log to MLflow: one run for the study and, nested in it, one for each of its runs."""

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reports its use to its makers otherwise
# The driver retries later, and an answer that comes after a minute comes too late.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from tuner.trackers.messages import Kind, LoggedRun, Subject
from tuner.trackers.places import mlflow_experiment

_STATUS = {
    "RUNNING": "RUNNING",
    "WAITING": "SCHEDULED",
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
}
_MOST_METRICS = 1000
_MOST_OTHERS = 100
"""Limits of MLflow for one request."""

_Item = TypeVar("_Item")
_STUDY_ID = "tune.study_id"
_KEY = "tune.key"


@dataclass(kw_only=True, slots=True)
class _Logged:
    """Run as MLflow has it."""

    run_id: str
    state: str = ""
    params: set[str] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)
    latest: dict[str, float] = field(default_factory=dict)
    """Latest value of each metric."""
    epochs: dict[str, int] | None = field(default_factory=dict)
    """Last epoch of each metric; None if MLflow has not been asked yet."""


class MlflowServer:
    """Experiment of a study in MLflow. What it has is found by tags, so a resumed study continues its runs."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._client = MlflowClient()
        self._experiment = self._experiment_id()
        self._runs = dict(self._found())

    def log(self, run: LoggedRun) -> None:
        """Log the new points, parameters and tags, then the state."""
        logged = self._runs.get(run.key)
        if logged is None:
            logged = self._runs[run.key] = self._created(run)
        self._log_params(logged, run)
        self._log_points(logged, run)
        self._log_summary(logged, run)
        for path in run.files:
            self._client.log_artifact(logged.run_id, path)
        self._log_state(logged, run)

    def close(self) -> None:
        """Do nothing: every request has been answered."""

    def _experiment_id(self) -> str:
        number = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if number:
            return number
        name = mlflow_experiment(self._subject.name)
        found = self._client.get_experiment_by_name(name)
        return self._client.create_experiment(name) if found is None else found.experiment_id

    def _found(self) -> Iterable[tuple[str, _Logged]]:
        """Yield the runs of this study that MLflow has, by key."""
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                filter_string=f"tags.`{_STUDY_ID}` = '{self._subject.study_id}'",
                max_results=1000,
                page_token=token,
            )
            for run in page:
                yield (
                    run.data.tags[_KEY],
                    _Logged(
                        run_id=run.info.run_id,
                        state=run.data.tags.get("tune.state", ""),
                        params=set(run.data.params),
                        tags=dict(run.data.tags),
                        latest=dict(run.data.metrics),
                        epochs=None,
                    ),
                )
            token = page.token
            if not token:
                return

    def _created(self, run: LoggedRun) -> _Logged:
        parent = self._runs.get(Kind.STUDY.value)
        tags = {
            _STUDY_ID: self._subject.study_id,
            _KEY: run.key,
            "tune.study": self._subject.name,
            "tune.kind": run.kind.value,
            **({} if parent is None else {"mlflow.parentRunId": parent.run_id}),
        }
        created = self._client.create_run(self._experiment, tags=tags, run_name=run.name)
        return _Logged(run_id=created.info.run_id)

    def _log_params(self, logged: _Logged, run: LoggedRun) -> None:
        new = [Param(name, str(value)) for name, value in run.params.items() if name not in logged.params]
        for some in _parts(new, _MOST_OTHERS):
            self._client.log_batch(logged.run_id, params=some)
        logged.params |= {param.key for param in new}

    def _log_points(self, logged: _Logged, run: LoggedRun) -> None:
        if logged.epochs is None:
            is_complete = run.has_ended and logged.state == run.state  # its state is written last
            logged.epochs = (
                dict.fromkeys(logged.latest, run.last_epoch) if is_complete else self._last_epochs(logged, run)
            )
        now_ms = int(time.time() * 1000)
        new = [
            Metric(name, value, now_ms, epoch)
            for epoch, values in sorted(run.points.items())
            for name, value in values.items()
            if epoch > logged.epochs.get(name, 0)
        ]
        for some in _parts(new, _MOST_METRICS):
            self._client.log_batch(logged.run_id, metrics=some)
            logged.epochs |= {metric.key: metric.step for metric in some}

    def _last_epochs(self, logged: _Logged, run: LoggedRun) -> dict[str, int]:
        names = {name for values in run.points.values() for name in values} & set(logged.latest)
        return {name: max(m.step for m in self._client.get_metric_history(logged.run_id, name)) for name in names}

    def _log_summary(self, logged: _Logged, run: LoggedRun) -> None:
        now_ms = int(time.time() * 1000)
        new = {name: value for name, value in run.summary.items() if logged.latest.get(name) != value}
        if new:
            metrics = [Metric(name, value, now_ms, run.last_epoch) for name, value in new.items()]
            self._client.log_batch(logged.run_id, metrics=metrics)
            logged.latest |= new

    def _log_state(self, logged: _Logged, run: LoggedRun) -> None:
        tags = {f"tune.{name}": text for name, text in (*run.texts.items(), ("reason", run.reason)) if text}
        changed = {name: text for name, text in tags.items() if logged.tags.get(name) != text}
        self._write_tags(logged, changed)
        if logged.state != run.state:
            status = _STATUS[run.state]
            if run.has_ended:
                self._client.set_terminated(logged.run_id, status)
            else:
                self._client.update_run(logged.run_id, status)
            self._write_tags(logged, {"tune.state": run.state})
            logged.state = run.state

    def _write_tags(self, logged: _Logged, tags: Mapping[str, str]) -> None:
        for some in _parts([RunTag(name, text) for name, text in tags.items()], _MOST_OTHERS):
            self._client.log_batch(logged.run_id, tags=some)
        logged.tags.update(tags)


def _parts(items: list[_Item], size: int) -> Iterable[list[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
