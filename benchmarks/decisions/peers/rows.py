"""Rows of a table as a library sees them: values by name, ranges within 0..1 and choices by index."""

from collections.abc import Mapping

import numpy as np

from tuner.simulation.replay import Pool
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats

Values = dict[str, float | int]
"""Configuration: a float within 0..1 for a range, an index for a choice."""


class Rows:
    """Mapping from proposals to rows: each proposal takes, and trains, the nearest free row."""

    def __init__(self, table: CurveTable, pool: Pool) -> None:
        self._table = table
        self._pool = pool
        self.names = tuple(f"x{dimension}" for dimension in range(table.points.shape[1]))
        self.choices = dict(zip(self.names, table.choices, strict=True))
        """Number of values of each choice by name; 0 for a range."""
        self.default = None if table.baseline is None else self.values(table.baseline)
        """Default configuration, which every search tries first; None if nobody knows it."""

    @property
    def exhausted(self) -> bool:
        return self._pool.empty

    def take(self, values: Mapping[str, float | int]) -> int:
        """Take the free row nearest to a proposal, and mark it as taken."""
        return self.take_nearest(self.point(values))

    def take_nearest(self, point: Floats) -> int:
        """Take the free row nearest to a point of the unit cube, and mark it as taken."""
        row = self._pool.nearest(point)
        self._pool.take(row)
        return row

    def point(self, values: Mapping[str, float | int]) -> Floats:
        """Return the position of a proposal in the unit cube."""
        point: Floats = np.empty(len(self.names))
        for dimension, name in enumerate(self.names):
            value, choices = float(values[name]), self.choices[name]
            point[dimension] = (value + 0.5) / choices if choices else value
        return point

    def values(self, row: int) -> Values:
        """Return the configuration of a row."""
        pairs = zip(self.names, self._table.points[row], strict=True)
        return {name: self._value(name, float(at)) for name, at in pairs}

    def _value(self, name: str, at: float) -> float | int:
        choices = self.choices[name]
        return min(int(at * choices), choices - 1) if choices else at
