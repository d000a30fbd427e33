"""Read a table of learning curves for a simulation."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import TrialState

from tuner.contract import ParamValue
from tuner.curve_table.schema import FORMAT_VERSION, LOSS_PREFIX, METADATA_KEY, as_sampled
from tuner.exceptions import DataError, SpaceError
from tuner.simulation.tables import CurveTable
from tuner.space import WARM_UP_EPOCHS, Space, UnitCube, space_of
from tuner.trials.live import DIVERGED
from tuner.unit_cube import Floats

_MOST_CELLS = 20_000_000
"""Maximum number of cells; a thousand trials of a hundred epochs have five million."""
_STEADY_LOSS = 1.0
"""Loss of epochs without a recorded loss: the run continued after them, so it had not diverged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedNoise:
    """Variation of the metric caused by the seed alone."""

    configurations: int
    """Number of configurations that were trained to the end with several seeds."""
    runs: int
    """Number of their runs."""
    deviation: Floats
    """Standard deviation of the metric within a configuration after each epoch, (epochs,); NaN without such runs."""


def read_curves(path: Path) -> CurveTable:
    """Read the trials that were trained to the end or diverged, for a simulation.

    If a configuration was trained with several seeds, its first run in the file counts. After its last epoch, a
    diverged run has no metric and an infinite loss, and each epoch costs the average of its recorded epochs.

    Raises:
        DataError: the file is not a table of curves, or its trials were not validated after every epoch.
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
    """Estimate the noise from the configurations that were trained to the end with several seeds.

    Raises:
        DataError: see `read_curves`.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """One run of the file; arrays have the shape (epochs,)."""

    point: Floats
    seed: int
    completed: bool
    metric: Floats
    loss: Floats
    seconds: Floats
    """Wall time of each epoch in seconds; NaN if none is known."""

    @property
    def identity(self) -> bytes:
        """Key that is equal for equal configurations."""
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
        raise _refused(path, f"has unexpected content ({_line(error)})") from error
    if not runs:
        raise DataError(
            f"A simulation needs trials that were trained to the end or diverged, but '{path}' has none; "
            "continue the study and export it again."
        )
    return space, runs


def _opened(path: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """Read the columns by name, and the metadata of the file."""
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            metadata = _metadata_in(path, file.schema_arrow.metadata or {})
            if file.metadata.num_rows * file.metadata.num_columns > _MOST_CELLS:
                raise _refused(path, f"has more than {_MOST_CELLS} values")
            return file.read().to_pydict(), metadata
    except (pa.ArrowException, ValueError) as error:
        raise _refused(path, f"is not a complete parquet file ({_line(error)})") from error
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror or _line(error)})") from error


def _metadata_in(path: Path, entries: Mapping[bytes, bytes]) -> dict[str, Any]:
    if METADATA_KEY not in entries:
        raise _refused(path, f"has no metadata {METADATA_KEY.decode()!r}")
    try:
        metadata = json.loads(entries[METADATA_KEY])
        version = metadata["format"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise _refused(path, f"has unreadable metadata {METADATA_KEY.decode()!r}") from error
    if version != FORMAT_VERSION:
        raise _refused(path, f"has format {version!r}, but this version reads {FORMAT_VERSION}; export it again")
    return dict(metadata)


class _RunReader:
    """Reader of runs from the columns of a file."""

    def __init__(self, columns: Mapping[str, list[Any]], space: Space) -> None:
        """Find the columns of this space.

        Raises:
            KeyError: a column is missing.
        """
        self._columns = columns
        self._space = space
        self._cube = UnitCube(space)
        self._epochs = space.settings.epochs
        self._metric = columns[space.settings.metric]
        self._parameters = {parameter: columns[parameter.label] for parameter in space.searched}
        self._losses = [column for name, column in columns.items() if name.startswith(LOSS_PREFIX)]

    def runs(self) -> list[_Run]:
        """Return the runs that were trained to the end or diverged, in the order of the file."""
        by_trial: dict[tuple[str, int], list[int]] = {}
        for row, trial in enumerate(zip(self._columns["study"], self._columns["trial"], strict=True)):
            by_trial.setdefault(trial, []).append(row)
        if len(by_trial) * self._epochs > _MOST_CELLS:
            raise ValueError(f"{len(by_trial)} trials of {self._epochs} epochs are too many")
        return [self._run(rows) for rows in by_trial.values() if self._is_completed(rows) or self._has_diverged(rows)]

    def _is_completed(self, rows: Sequence[int]) -> bool:
        return bool(self._columns["state"][rows[0]] == TrialState.COMPLETE.name)

    def _has_diverged(self, rows: Sequence[int]) -> bool:
        return str(self._columns["reason"][rows[0]] or "").startswith(DIVERGED)

    def _run(self, rows: Sequence[int]) -> _Run:
        by_epoch = {self._columns["epoch"][row]: row for row in rows if self._columns["epoch"][row] != 0}
        if not all(1 <= epoch <= self._epochs for epoch in by_epoch):
            raise ValueError(f"an epoch outside 1 to {self._epochs}")
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
        self._space.resolve(sampled)  # refuses incomplete configurations
        return _Run(
            point=point,
            seed=int(self._columns["seed"][rows[0]]),
            completed=self._is_completed(rows),
            metric=metric,
            loss=loss,
            seconds=np.where(np.isfinite(seconds), seconds, _mean(seconds, otherwise=np.nan)),
        )

    def _check_validated(self, rows: Sequence[int], by_epoch: Mapping[int, int]) -> None:
        """Check that a run has a metric after every epoch; a diverged run may end early, its last epoch without one."""
        whole = range(1, self._epochs + 1 if self._is_completed(rows) else max(by_epoch, default=0))
        for epoch in whole:
            if epoch not in by_epoch or self._metric[by_epoch[epoch]] is None:
                study, trial = (self._columns[name][rows[0]] for name in ("study", "trial"))
                raise DataError(
                    f"A simulation needs the metric after every epoch, but trial {trial} of study '{study}' was not "
                    f"validated after epoch {epoch}; run a study with --validate-every-epoch."
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
            parameter.label: as_sampled(parameter, column[row])
            for parameter, column in self._parameters.items()
            if column[row] is not None
        }


def _mean(values: Floats, *, otherwise: float) -> float:
    """Return the mean of the finite values, or `otherwise` if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else otherwise
