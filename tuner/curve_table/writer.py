"""The table of learning curves: every epoch of every ended trial of one or more studies, as one parquet file.

docs/curves.md describes the format.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import TrialState

from tuner.contract import METRICS, ContractError, EpochRecord, ParamValue, decode
from tuner.contract.run_folder import RECORDS
from tuner.exceptions import DataError, EnvironmentProblem, SpaceError, UsageError
from tuner.simulation.tables import CurveTable
from tuner.space import WARM_UP_EPOCHS, ChoiceParameter, IntParameter, SearchedParameter, Space, UnitCube, space_of
from tuner.study import KnownStudy, StudyPaths, StudySpec, TrialRecord
from tuner.system.atomic_files import write_whole
from tuner.trials.live import DIVERGED
from tuner.unit_cube import Floats

FORMAT_VERSION = 1
METADATA_KEY = b"mamba-yolo-tuner"
LOSS_PREFIX = "loss_"

_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_MOST_CELLS = 20_000_000
"""A thousand trials of a hundred epochs have five millions."""
_STEADY_LOSS = 1.0
"""Where nobody kept a run's losses and it went on: all that is known is that it had not diverged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedStudy:
    """A study, and the folder with what its trials left."""

    study: KnownStudy
    paths: StudyPaths


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedNoise:
    """How far the seed alone moves the metric."""

    configurations: int
    """How many were trained to their end under several seeds."""
    runs: int
    """How many runs these were."""
    deviation: Floats
    """(epochs,): standard deviation of the metric after each epoch, within a configuration; NaN without any."""


def write_curves(path: Path, studies: Sequence[RecordedStudy]) -> int:
    """Write the curves of all ended trials, whole or not at all. Returns how many trials these are.

    Raises:
        UsageError: no trial has ended, or the studies differ in more than seed, rungs and trials.
        EnvironmentProblem: the file cannot be written.
    """
    specs = [recorded.study.spec for recorded in studies]
    _check_alike({recorded.study.name: spec for recorded, spec in zip(studies, specs, strict=True)})
    space = space_of(specs[0].space, name=specs[0].space_name)
    rows = [row for recorded in studies for row in _rows(recorded, space)]
    if not rows:
        names = ", ".join(recorded.study.name for recorded in studies)
        raise UsageError(f"A table of curves needs trials that have ended, but {names} has none; let it run on.")
    losses = sorted({name for row in rows for name in row if name.startswith(LOSS_PREFIX)})
    schema = _schema(space, losses).with_metadata({METADATA_KEY: json.dumps(_metadata(specs)).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer, compression="zstd", use_dictionary=True)
    _write(path, buffer.getvalue().to_pybytes())
    return len({(row["study"], row["trial"]) for row in rows})


def read_curves(path: Path) -> CurveTable:
    """The trials that were trained to their end or diverged, for a simulation.

    Of a configuration that was trained several times, under several seeds, the first run in the file counts. After its
    last epoch a diverged run has no metric and an infinite loss, and costs what its epochs did on average.

    Raises:
        DataError: it is no such file, or its trials were not validated after every epoch.
    """
    space, runs = _read(path)
    firsts: dict[bytes, _Run] = {}
    for run in runs:
        firsts.setdefault(run.identity, run)
    cube = UnitCube(space)
    baseline = cube.point(space.baseline_sampled()).tobytes()
    seconds = np.array([run.seconds for run in firsts.values()])
    return CurveTable(
        name=path.stem,
        points=np.array([run.point for run in firsts.values()]),
        choices=cube.choices,
        conditions=cube.conditions,
        baseline=list(firsts).index(baseline) if baseline in firsts else None,
        metric=np.array([run.metric for run in firsts.values()]),
        loss=np.array([run.loss for run in firsts.values()]),
        seconds=np.where(np.isfinite(seconds), seconds, _mean(seconds, otherwise=1.0)),
        warm_up_epochs=WARM_UP_EPOCHS,
    )


def seed_noise(path: Path) -> SeedNoise:
    """What the configurations that were trained to their end under several seeds say of the noise.

    Raises:
        DataError: as `read_curves`.
    """
    _, runs = _read(path)
    by_seed: dict[bytes, dict[int, Floats]] = {}
    for run in runs:
        if run.completed:
            by_seed.setdefault(run.identity, {}).setdefault(run.seed, run.metric)
    repeated = [np.array(list(curves.values())) for curves in by_seed.values() if len(curves) > 1]
    squares = np.zeros_like(runs[0].metric)
    for curves in repeated:
        squares += ((curves - curves.mean(axis=0)) ** 2).sum(axis=0)
    num_runs = sum(map(len, repeated))
    deviation = np.sqrt(squares / (num_runs - len(repeated))) if repeated else np.full_like(squares, np.nan)
    return SeedNoise(configurations=len(repeated), runs=num_runs, deviation=deviation)


# Writing


def _check_alike(specs: Mapping[str, StudySpec]) -> None:
    """What one table tells of all its rows must be true of all of them."""
    (first, expected), *others = ((name, _common(spec)) for name, spec in specs.items())
    for name, common in others:
        different = [part for part in common if common[part] != expected[part]]
        if different:
            raise UsageError(
                "Studies in one table may differ in seed, rungs and trials only, but "
                f"'{name}' differs from '{first}' in {', '.join(different)}; give it a file of its own."
            )


def _common(spec: StudySpec) -> dict[str, object]:
    return {
        "parameters": spec.space["parameters"],
        "baseline": spec.space["baseline"],
        "epochs": spec.epochs,
        "metric": spec.metric,
        "model": spec.model,
        "data set": spec.data_sha256,
    }


def _metadata(specs: Sequence[StudySpec]) -> dict[str, object]:
    first = specs[0]
    packages = sorted({package for spec in specs for package in spec.versions})
    return {
        "format": FORMAT_VERSION,
        "space_name": first.space_name,
        "space": first.space,
        "metric": first.metric,
        "epochs": first.epochs,
        "model": first.model,
        "data": first.data,
        "data_sha256": first.data_sha256,
        "num_images": first.num_images,
        "versions": {
            package: ", ".join(sorted({spec.versions[package] for spec in specs if package in spec.versions}))
            for package in packages
        },
    }


def _schema(space: Space, losses: Sequence[str]) -> pa.Schema:
    text, whole, real = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.float64()
    return pa.schema(
        {
            "study": text,
            **dict.fromkeys(("trial", "seed", "epoch"), whole),
            **dict.fromkeys((*METRICS, *losses, "seconds", "memory_gib", "learning_rate"), real),
            "batch_trained": whole,
            "state": text,
            "reason": text,
            **{parameter.label: _column_type(parameter, text) for parameter in space.searched},
        }
    )


def _column_type(parameter: SearchedParameter, text: pa.DataType) -> pa.DataType:
    if not isinstance(parameter, ChoiceParameter):
        return pa.int64() if isinstance(parameter, IntParameter) else pa.float64()
    types = {type(choice) for choice in parameter.choices}
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(types.pop(), text) if len(types) == 1 else text


def _as_stored(parameter: SearchedParameter, value: ParamValue) -> ParamValue:
    """The value in its column: text where a choice has values of several types."""
    is_mixed = isinstance(parameter, ChoiceParameter) and len({type(choice) for choice in parameter.choices}) > 1
    return str(value).lower() if is_mixed and isinstance(value, bool) else str(value) if is_mixed else value


def _rows(recorded: RecordedStudy, space: Space) -> Iterator[dict[str, Any]]:
    """The epochs of each ended trial; an epoch 0 alone for one that had none."""
    spec = recorded.study.spec
    for trial in recorded.study.trials():
        if trial.state not in _ENDED:
            continue
        of_trial = {
            "study": recorded.study.name,
            "trial": trial.number,
            "seed": spec.seed,
            "state": trial.state.name,
            "reason": trial.reason,
            **{p.label: _as_stored(p, trial.sampled[p.label]) for p in space.searched if p.label in trial.sampled},
        }
        figures = _figures(trial, spec, recorded.paths.trial(trial.number))
        for epoch, of_epoch in sorted(figures.items()) or [(0, {})]:
            yield {**of_trial, "epoch": epoch, **of_epoch}


def _figures(trial: TrialRecord, spec: StudySpec, folder: Path) -> dict[int, dict[str, Any]]:
    """What is known of each epoch: from the trainer's records, and from the study where these are gone."""
    figures: dict[int, dict[str, Any]] = {epoch: {spec.metric: value} for epoch, value in trial.curve.items()}
    for record in _records(folder):
        figures.setdefault(record.epoch, {}).update(
            {name: value for name, value in (record.metrics or {}).items() if name in METRICS},
            **{f"{LOSS_PREFIX}{name}": loss for name, loss in record.losses.items()},
            seconds=record.seconds,
            memory_gib=record.memory_gib,
            learning_rate=record.learning_rate,
            batch_trained=record.batch,
        )
    return figures


def _records(folder: Path) -> Iterator[EpochRecord]:
    try:
        lines = (folder / RECORDS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            record = decode(line)
        except ContractError:
            return  # cut short by a crash
        if isinstance(record, EpochRecord):
            yield record


def _write(target: Path, content: bytes) -> None:
    try:
        write_whole(target, content)
    except OSError as error:
        raise EnvironmentProblem(
            f"The table must be writable, but '{target}' is not ({error.strerror}); choose another with --curves."
        ) from error


# Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One run of the file; (epochs,) each."""

    point: Floats
    seed: int
    completed: bool
    metric: Floats
    loss: Floats
    seconds: Floats
    """NaN where none is known."""

    @property
    def identity(self) -> bytes:
        """Equal for equal configurations."""
        return self.point.tobytes()


def _refused(path: Path, why: str) -> DataError:
    return DataError(f"A table of curves must be a file that `tune export --curves` wrote, but '{path}' {why}.")


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _read(path: Path) -> tuple[Space, list[_Run]]:
    columns, metadata = _opened(path)
    try:
        space = space_of(metadata["space"], name=str(metadata["space_name"]))
        runs = _RunReader(columns, space).runs()
    except KeyError as error:
        raise _refused(path, f"lacks {error}") from error
    except (IndexError, SpaceError, TypeError, ValueError) as error:
        raise _refused(path, f"has something else in it ({_line(error)})") from error
    if not runs:
        raise DataError(
            f"A simulation needs trials that were trained to their end or diverged, but '{path}' has none; "
            "let the study run on and export it again."
        )
    return space, runs


def _opened(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """The columns by name, and what the file says of itself."""
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            metadata = _metadata_in(path, file.schema_arrow.metadata or {})
            if file.metadata.num_rows * file.metadata.num_columns > _MOST_CELLS:
                raise _refused(path, f"has more than {_MOST_CELLS} values")
            return file.read().to_pydict(), metadata
    except (pa.ArrowException, ValueError) as error:
        raise _refused(path, f"is no whole parquet file ({_line(error)})") from error
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror or _line(error)})") from error


def _metadata_in(path: Path, entries: Mapping[bytes, bytes]) -> dict[str, Any]:
    if METADATA_KEY not in entries:
        raise _refused(path, f"does not say what it is about: it has no metadata {METADATA_KEY.decode()!r}")
    try:
        metadata = json.loads(entries[METADATA_KEY])
        version = metadata["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _refused(path, f"has unreadable metadata {METADATA_KEY.decode()!r}") from error
    if version != FORMAT_VERSION:
        raise _refused(path, f"has format {version!r} where this version reads {FORMAT_VERSION}; export it again")
    return dict(metadata)


class _RunReader:
    """Makes runs of a file's columns."""

    def __init__(self, columns: Mapping[str, list[Any]], space: Space) -> None:
        """Columns of a file about this space.

        Raises:
            KeyError: one is missing.
        """
        self._columns = columns
        self._space = space
        self._cube = UnitCube(space)
        self._epochs = space.settings.epochs
        self._metric = columns[space.settings.metric]
        self._parameters = {parameter: columns[parameter.label] for parameter in space.searched}
        self._losses = [column for name, column in columns.items() if name.startswith(LOSS_PREFIX)]

    def runs(self) -> list[_Run]:
        """Those that were trained to their end or diverged, in the order of the file."""
        by_trial: dict[tuple[str, int], list[int]] = {}
        for row, trial in enumerate(zip(self._columns["study"], self._columns["trial"], strict=True)):
            by_trial.setdefault(trial, []).append(row)
        if len(by_trial) * self._epochs > _MOST_CELLS:
            raise ValueError(f"{len(by_trial)} trials of {self._epochs} epochs")
        return [self._run(rows) for rows in by_trial.values() if self._is_completed(rows) or self._has_diverged(rows)]

    def _is_completed(self, rows: Sequence[int]) -> bool:
        return bool(self._columns["state"][rows[0]] == TrialState.COMPLETE.name)

    def _has_diverged(self, rows: Sequence[int]) -> bool:
        return str(self._columns["reason"][rows[0]] or "").startswith(DIVERGED)

    def _run(self, rows: Sequence[int]) -> _Run:
        by_epoch = {self._columns["epoch"][row]: row for row in rows if self._columns["epoch"][row] != 0}
        if not all(1 <= epoch <= self._epochs for epoch in by_epoch):
            raise ValueError(f"an epoch that is none of {self._epochs}")
        self._check_validated(rows, by_epoch)
        metric, seconds = np.full((2, self._epochs), np.nan)
        loss = np.full(self._epochs, np.inf)
        losses = self._losses_by_epoch(by_epoch)
        for epoch, row in by_epoch.items():
            metric[epoch - 1] = self._metric[row]  # none becomes NaN
            seconds[epoch - 1] = self._columns["seconds"][row]
            loss[epoch - 1] = losses[epoch]
        sampled = self._sampled(rows[0])
        point = self._cube.point(sampled)
        self._space.resolve(sampled)  # refuses what is not whole
        return _Run(
            point=point,
            seed=int(self._columns["seed"][rows[0]]),
            completed=self._is_completed(rows),
            metric=metric,
            loss=loss,
            seconds=np.where(np.isfinite(seconds), seconds, _mean(seconds, otherwise=np.nan)),
        )

    def _check_validated(self, rows: Sequence[int], by_epoch: Mapping[int, int]) -> None:
        """A diverged run ends where it ends, and its last epoch may have no metric any more."""
        whole = range(1, self._epochs + 1 if self._is_completed(rows) else max(by_epoch, default=0))
        for epoch in whole:
            if epoch not in by_epoch or self._metric[by_epoch[epoch]] is None:
                study, trial = (self._columns[name][rows[0]] for name in ("study", "trial"))
                raise DataError(
                    f"A simulation needs the metric after every epoch, but trial {trial} of study '{study}' was not "
                    f"validated after epoch {epoch}; record a study with --validate-every-epoch."
                )

    def _losses_by_epoch(self, by_epoch: Mapping[int, int]) -> dict[int, float]:
        known = {
            epoch: sum(losses)
            for epoch, row in sorted(by_epoch.items())
            if (losses := [column[row] for column in self._losses if column[row] is not None])
        }
        steady = next((loss for loss in known.values() if np.isfinite(loss)), _STEADY_LOSS)
        return {epoch: known.get(epoch, steady) for epoch in by_epoch}

    def _sampled(self, row: int) -> dict[str, ParamValue]:
        return {
            parameter.label: _as_sampled(parameter, column[row])
            for parameter, column in self._parameters.items()
            if column[row] is not None
        }


def _as_sampled(parameter: SearchedParameter, stored: ParamValue) -> ParamValue:
    """The value that `_as_stored` made this of."""
    choices = parameter.choices if isinstance(parameter, ChoiceParameter) else ()
    return next((choice for choice in choices if _as_stored(parameter, choice) == stored), stored)


def _mean(values: Floats, *, otherwise: float) -> float:
    """Of those that are known."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else otherwise
