"""Load tables of recorded learning curves, which a simulation reads instead of training.

A table comes from a parquet file that `tune export --curves` wrote (`tuner.curve_table`), or from an npz file with the
arrays `hp_names`, `config` and `valid_loss`: the TaskSet curves (https://github.com/releaunifreiburg/DPL).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tuner.divergence import exploded
from tuner.exceptions import DataError
from tuner.unit_cube import Cube, Dimension, Floats

_BETAS = frozenset({"beta1", "beta2"})
"""Parameters searched as log10(1 - beta), because their distance from 1 matters."""


@dataclass(frozen=True, kw_only=True)
class CurveTable:
    """Configurations with their metric, loss and time at every epoch."""

    name: str
    points: Floats
    """Configurations as points of the searched unit cube, shape (configurations, dimensions)."""
    choices: tuple[int, ...]
    """Number of values of each dimension that is a choice, with the i-th at (i + 0.5) / choices; 0 for a range."""
    conditions: tuple[tuple[tuple[int, frozenset[int]], ...], ...] = ()
    """Conditions of each dimension, as in `tuner.unit_cube.Dimension.when`; empty if no dimension has any."""
    baseline: int | None = None
    """Row of the default configuration; None if unknown."""
    metric: Floats
    """Metric, higher is better, shape (configurations, epochs); NaN or infinite after a run has diverged."""
    loss: Floats
    """Loss, shape (configurations, epochs); it explodes when a run diverges, and is not finite after that."""
    seconds: Floats
    """Time of each epoch in seconds, shape (configurations, epochs)."""
    warm_up_epochs: int = 0
    """Number of warm-up epochs; no default rung comes before their end."""

    @cached_property
    def cube(self) -> Cube:
        """Unit cube that is searched."""
        conditions = self.conditions or ((),) * len(self.choices)
        pairs = zip(self.choices, conditions, strict=True)
        return Cube(tuple(Dimension(choices=choices, when=when) for choices, when in pairs))

    @property
    def num_configurations(self) -> int:
        return len(self.points)

    @property
    def epochs(self) -> int:
        """Length of a full run, in epochs."""
        return int(self.metric.shape[1])

    @cached_property
    def dead_from(self) -> NDArray[np.int64]:
        """First epoch (1-based) from which each run is dead for good; epochs + 1 if it never is."""
        detects = np.nan_to_num(self.metric).any(axis=1, keepdims=True)
        highest = np.where(detects, exploded(True), exploded(False)) * self.loss[:, :1]
        alive = np.isfinite(self.loss) & (self.loss <= highest) & np.isfinite(self.metric)
        last_alive = np.where(alive.any(axis=1), self.epochs - np.argmax(alive[:, ::-1], axis=1), 0)
        return last_alive.astype(np.int64) + 1

    @cached_property
    def final(self) -> Floats:
        """Metric of each configuration after a full run; minus infinity for a run that diverged."""
        return np.where(np.isfinite(self.metric[:, -1]), self.metric[:, -1], -np.inf)

    @cached_property
    def full_run_s(self) -> float:
        """Average time of a full run in seconds, the unit of a budget."""
        return float(self.seconds.sum(axis=1).mean())

    def regret(self, row: int | None) -> float:
        """Return the final gap to the best configuration, divided by the gap of the median one and clipped to 0..1.

        Args:
            row: Row of the configuration; None for no configuration, with a regret of 1.
        """
        if row is None:
            return 1.0
        best, median = float(self.final.max()), float(np.median(self.final))
        spread = best - median
        return float(np.clip((best - self.final[row]) / spread, 0.0, 1.0)) if spread > 0 else 0.0


def load_arrays(path: Path) -> CurveTable:
    """Load a table from an npz file that `save_arrays` wrote, or one with losses in the published TaskSet format.

    Raises:
        DataError: The file cannot be read, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _restored(path.stem, arrays) if "points" in arrays else _of_losses(path.stem, arrays)
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(
            f"A table of losses must be an npz file with hp_names, config and valid_loss, but '{path}' is not "
            f"({error}); check the file."
        ) from error


def save_arrays(table: CurveTable, path: Path) -> None:
    """Write a table as an npz file that numpy alone can read."""
    conditions = [[[other, sorted(allowed)] for other, allowed in when] for when in table.conditions]
    np.savez_compressed(
        path,
        points=table.points,
        choices=np.asarray(table.choices, np.int64),
        conditions=np.asarray(json.dumps(conditions)),
        baseline=np.asarray(-1 if table.baseline is None else table.baseline),
        metric=table.metric,
        loss=table.loss,
        seconds=table.seconds,
        warm_up_epochs=np.asarray(table.warm_up_epochs),
    )


def _restored(name: str, arrays: Mapping[str, Any]) -> CurveTable:
    conditions = json.loads(str(arrays["conditions"]))
    baseline = int(arrays["baseline"])
    return CurveTable(
        name=name,
        points=np.asarray(arrays["points"], float),
        choices=tuple(int(number) for number in arrays["choices"]),
        conditions=tuple(tuple((other, frozenset(allowed)) for other, allowed in when) for when in conditions),
        baseline=None if baseline < 0 else baseline,
        metric=np.asarray(arrays["metric"], float),
        loss=np.asarray(arrays["loss"], float),
        seconds=np.asarray(arrays["seconds"], float),
        warm_up_epochs=int(arrays["warm_up_epochs"]),
    )


def _of_losses(name: str, arrays: Mapping[str, Any]) -> CurveTable:
    names = [str(n) for n in arrays["hp_names"]]
    loss = np.asarray(arrays["valid_loss"], float)
    values = np.asarray(arrays["config"], float)
    if loss.ndim != 2 or 0 in loss.shape or values.shape != (len(loss), len(names)):
        raise ValueError(
            f"config must have one row per curve and one column per name (hp_names has {len(names)}), "
            f"but config has the shape {values.shape} and valid_loss {loss.shape}"
        )
    return CurveTable(
        name=name,
        points=_unit_cube(values, names),
        choices=(0,) * len(names),
        metric=-loss,
        loss=loss,
        seconds=np.ones_like(loss),
    )


def _unit_cube(values: Floats, names: list[str]) -> Floats:
    """Scale each hyper-parameter logarithmically from its smallest to its largest value in the table."""
    distances = np.where([n in _BETAS for n in names], 1.0 - values, values)
    with np.errstate(divide="raise", invalid="raise"):
        try:
            scaled = np.log10(distances)
        except FloatingPointError:
            raise ValueError("all hyper-parameters must be above 0, and betas below 1") from None
    low, high = scaled.min(axis=0), scaled.max(axis=0)
    placed: Floats = (scaled - low) / np.where(high > low, high - low, 1.0)
    return placed
