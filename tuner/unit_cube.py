"""Define the unit cube that is searched: one dimension for each searched parameter."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_INACTIVE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """Dimension of one searched parameter."""

    choices: int = 0
    """Number of values of a choice, with the i-th at (i + 0.5) / choices; 0 for a range."""
    when: tuple[tuple[int, frozenset[int]], ...] = ()
    """Conditions: pairs of another dimension and its choices for which this one has a value. All of them must hold."""


@dataclass(frozen=True)
class Cube:
    """Unit cube of a search. Points are arrays of shape (points, dimensions).

    A tidy point has choices in the middle of their bins, and 0.5 in every dimension without a value. Each dimension
    follows those that its conditions name.
    """

    dimensions: tuple[Dimension, ...]

    def tidy(self, points: Floats) -> Floats:
        """Return the equivalent tidy points."""
        tidied = np.clip(points, 0.0, 1.0)
        active = np.ones(tidied.shape, bool)
        for i, dimension in enumerate(self.dimensions):
            for other, allowed in dimension.when:
                active[:, i] &= active[:, other] & np.isin(self._bins(tidied, other), list(allowed))
            if dimension.choices:
                tidied[:, i] = (self._bins(tidied, i) + 0.5) / dimension.choices
            tidied[~active[:, i], i] = _INACTIVE
        return tidied

    def random(self, rng: np.random.Generator, number: int) -> Floats:
        """Return uniformly random tidy points."""
        return self.tidy(rng.random((number, len(self.dimensions))))

    def near(self, rng: np.random.Generator, points: Floats, number: int, *, reach: float) -> Floats:
        """Return tidy points near the given ones: each differs from one of them in about half of the dimensions.

        Args:
            rng: Random generator.
            points: Points to start from.
            number: Number of points to return. Each changes at least one dimension.
            reach: Standard deviation of a step in a range. A choice changes to any value.
        """
        origins = points[rng.integers(len(points), size=number)]
        moved = rng.random(origins.shape) < 0.5
        moved[np.arange(number), rng.integers(origins.shape[1], size=number)] = True
        steps = rng.normal(scale=reach, size=origins.shape)
        anywhere = rng.random(origins.shape)
        stepped = origins + steps
        outside = (stepped < 0) | (stepped > 1)
        targets = np.where(outside | self._is_choice, anywhere, stepped)
        return self.tidy(np.where(moved, targets, origins))

    def features(self, points: Floats) -> Floats:
        """Return the features of tidy points for distances, shape (points, features); different choices are 1 apart."""
        columns = []
        for i, dimension in enumerate(self.dimensions):
            if dimension.choices:
                one_hot = self._bins(points, i)[:, None] == np.arange(dimension.choices)
                is_active = points[:, i] * dimension.choices % 1.0 == 0.5
                columns.append(one_hot * is_active[:, None] / np.sqrt(2.0))
            else:
                columns.append(points[:, i : i + 1])
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(points), 0))

    @cached_property
    def _is_choice(self) -> NDArray[np.bool_]:
        return np.array([dimension.choices > 0 for dimension in self.dimensions], bool)

    def _bins(self, points: Floats, i: int) -> NDArray[np.int64]:
        number = self.dimensions[i].choices
        return np.minimum((points[:, i] * number).astype(np.int64), number - 1)
