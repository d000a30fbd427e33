"""Worlds for the contestants: a default, configurations, and their metric on some seeds.

Search and verdict use up most of a table's few seeds, so there are two kinds of world. In worlds of *recorded* seeds
every value is real, and truth is the mean over all seeds of the table. A contestant that has seen four of five seeds
knows most of that truth, so errors are rarer there than in practice. *Drawn* worlds have any number of seeds and a
known truth: the table's mean. Each value adds the effect of one recorded seed on configurations of similar rank, and
the residual of a recorded run of one of the five configurations next to it in rank. Values better than any recorded run
are clipped. The tails, and the larger noise of worse configurations, are therefore as recorded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.verdicts.tables import Floats, Table

CONFIGURATIONS = 100
SEEDS = 13
"""Number of seeds of a drawn world: the search's and twelve others."""
_NEIGHBOURS = 5
_REGION = 200
"""Number of configurations, adjacent in rank, that share a seed's effect."""
_NULL_POOL = 300

Integers = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class World:
    """Default in row 0, then the configurations that the search would try, in order."""

    metrics: Floats
    """Configurations x seeds; the first seed is the search's."""
    truth: Floats
    """True metric of each configuration."""
    noise: float
    """Standard deviation between seeds of good configurations in this table, without their shared effect."""


class Maker:
    """Factory for the worlds of one table."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._means = table.metrics.mean(axis=1)
        self._best = float(table.metrics.max())
        order = np.argsort(-self._means, kind="stable")
        self._order = order
        self._rank = np.argsort(order)
        seeds = table.metrics.shape[1]
        left = table.metrics - self._means[:, None]
        regions = np.array_split(order, max(1, len(order) // _REGION))
        self._shared = np.zeros_like(left)
        for region in regions:
            shared = np.median(left[region], axis=0)
            self._shared[region] = shared - shared.mean()
        self._left = (left - self._shared) * np.sqrt(seeds / (seeds - 1))
        self.noise = float(np.sqrt((self._left[order[: len(order) // 10]] ** 2).mean()))

    @property
    def good(self) -> int:
        """Row of a default that is hard to beat: one tenth of the configurations are better."""
        return int(self._order[len(self._order) // 10])

    def recorded(self, default: int, rng: np.random.Generator) -> World:
        """Make a world of any configurations with real seeds."""
        return self._recorded(self._any(rng), default, rng)

    def recorded_null(self, rng: np.random.Generator) -> World:
        """Make a world of configurations close to a good default and no better, with real seeds."""
        start = int(self._rank[self.good]) + 1
        pool = self._order[start : start + _NULL_POOL]
        chosen = rng.choice(pool, min(CONFIGURATIONS, len(pool)), replace=False)
        return self._recorded(chosen, self.good, rng)

    def drawn(self, default: int, rng: np.random.Generator) -> World:
        """Make a world of any configurations, with the means of the table."""
        rows = np.append(default, self._any(rng))
        return self._drawn(rows, self._means[rows], rng)

    def drawn_null(self, rng: np.random.Generator) -> World:
        """Make a world of better-half configurations, all exactly as good as the default, each with its own noise."""
        pool = self._order[: len(self._order) // 2]
        chosen = rng.choice(pool, min(CONFIGURATIONS, len(pool)), replace=False)
        rows = np.append(self.table.centre, chosen)
        return self._drawn(rows, np.full(len(rows), self._means[self.table.centre]), rng)

    def _any(self, rng: np.random.Generator) -> Integers:
        return rng.choice(len(self._order), min(CONFIGURATIONS, len(self._order)), replace=False)

    def _recorded(self, chosen: Integers, default: int, rng: np.random.Generator) -> World:
        rows = np.append(default, chosen)
        seeds = rng.permutation(self.table.metrics.shape[1])
        return World(metrics=self.table.metrics[rows][:, seeds], truth=self._means[rows], noise=self.noise)

    def _drawn(self, rows: Integers, truth: Floats, rng: np.random.Generator) -> World:
        recorded = self.table.metrics.shape[1]
        means = self._means[rows]
        shared = self._shared[rows]
        near = self._rank[rows][:, None] + np.arange(_NEIGHBOURS) - _NEIGHBOURS // 2
        left = self._left[self._order[np.clip(near, 0, len(self._order) - 1)]].reshape(len(rows), -1)
        every = means[:, None, None] + shared[:, :, None] + left[:, None, :]
        expected = np.minimum(every, self._best).mean(axis=(1, 2))
        drawn = np.take_along_axis(left, rng.integers(left.shape[1], size=(len(rows), SEEDS)), axis=1)
        metrics = np.minimum(means[:, None] + shared[:, rng.integers(recorded, size=SEEDS)] + drawn, self._best)
        return World(metrics=metrics + (truth - expected)[:, None], truth=truth, noise=self.noise)
