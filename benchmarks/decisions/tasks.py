"""Tasks of the benchmark: npz files of tables, in a folder per family, as a search gets them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.decisions.defaults import default_row
from benchmarks.decisions.results import Key, Setting
from tuner.exceptions import DataError
from tuner.simulation.tables import CurveTable, load_arrays


def key_of(path: Path, method: str, seed: int, setting: Setting) -> Key:
    """Return the identity of a search of the table in an npz file."""
    return Key(path.parent.name, path.stem, method, seed, setting)


def load(path: Path, *, default: str, cost: str) -> CurveTable:
    """Load a table for a setting.

    Raises:
        DataError: The file has no table, or `default` is `first` and nobody knows one.
    """
    table = load_arrays(path)
    row = default_row(path, table) if default == "first" else None
    if default == "first" and row is None:
        raise DataError(f"'{path}' has no default configuration; give --default none, or add one to defaults.py.")
    seconds = np.ones_like(table.seconds) if cost == "epochs" else table.seconds
    return replace(table, baseline=row, seconds=seconds)
