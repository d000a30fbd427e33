"""A table's rows as a library sees them: values by name, ranges within 0..1 and choices by index."""

from collections.abc import Mapping

import numpy as np

from tuner.simulation.replay import Pool
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats

Values = dict[str, float | int]
"""A configuration: a float within 0..1 for a range, an index for a choice."""


class Rows:
    """What takes proposals to rows: each goes to the nearest row that is free, and trains that."""

    def __init__(self, table: CurveTable, pool: Pool) -> None:
        self._table = table
        self._pool = pool
        self.names = tuple(f"x{dimension}" for dimension in range(table.points.shape[1]))
        self.choices = dict(zip(self.names, table.choices, strict=True))
        """By name: how many values a choice has; 0 for a range."""

    @property
    def exhausted(self) -> bool:
        return self._pool.empty

    def take(self, values: Mapping[str, float | int]) -> int:
        """The free row nearest to a proposal, free no more."""
        return self.take_nearest(self.point(values))

    def take_nearest(self, point: Floats) -> int:
        """The free row nearest to a point of the unit cube, free no more."""
        row = self._pool.nearest(point)
        self._pool.take(row)
        return row

    def point(self, values: Mapping[str, float | int]) -> Floats:
        """Where a proposal lies in the unit cube."""
        point: Floats = np.empty(len(self.names))
        for dimension, name in enumerate(self.names):
            value, choices = float(values[name]), self.choices[name]
            point[dimension] = (value + 0.5) / choices if choices else value
        return point

    def values(self, row: int) -> Values:
        """The configuration of a row."""
        pairs = zip(self.names, self._table.points[row], strict=True)
        return {name: self._value(name, float(at)) for name, at in pairs}

    def _value(self, name: str, at: float) -> float | int:
        choices = self.choices[name]
        return min(int(at * choices), choices - 1) if choices else at
