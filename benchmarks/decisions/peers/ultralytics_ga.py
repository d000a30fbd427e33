"""Ultralytics' genetic tuner, implemented anew from what release 8.4.190 does; none of its code is here."""

import math

import numpy as np

from benchmarks.decisions.peers.history import History
from benchmarks.decisions.peers.rows import Rows
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats

_PARENTS = 9
"""So many of the best may become parents, each in proportion to its lead over the last of them."""

_STEP = 0.2
"""Standard deviation of a mutation, as a share of a parameter's range."""

_STALE_TRIALS, _STALE_DECAY = 25, 0.2
"""Steps shrink linearly by that share until so many trials have brought nothing better."""

_MUTATED = 0.5
"""Probability that a parameter mutates."""

_COVARIANCE_FROM, _ELITE_SHARE, _ELITE_MOST = 30, 0.2, 30
_COVARIANCE_USED = 0.4
"""Once so many trials are over, that share of mutations follows the covariance of an elite."""

_RECOVERIES = 3
"""So often in a row it loads the last checkpoint after NaN before it gives a run up."""


class UltralyticsGa:
    """Every run is trained to its end; a child of the best so far takes each slot that becomes free.

    As with its MongoDB option, all workers share one history. The default comes first, or a random proposal where a
    table knows none; until a run is over the others mutate that. A run that stays NaN after three recoveries has
    failed; its fitness, 0 there, is the worst last value seen here, as a table's metric need not start at 0. Fitness is
    the last value, not that of the best checkpoint, since it is what a configuration is judged by here. Mutates in the
    unit cube of the table, logarithmic scales included, which its own linear spaces are not; a child that exists
    already, which it would draw again, goes to the nearest free row. Promotes the best full run; before there is one,
    the best last value.
    """

    def __init__(self, table: CurveTable, pool: Pool, seed: int, workers: int) -> None:
        self._table = table
        self._rows = Rows(table, pool)
        self._random = np.random.default_rng(seed)
        self._history = History()
        self._over: list[int] = []
        """Trials that have ended, in that order."""
        self._lost_epochs: dict[int, int] = {}
        """By trial: epochs in a row that were NaN, the first epoch of the run left out."""

    def ask(self) -> Job | None:
        if self._rows.exhausted:
            return None
        row = self._rows.take_nearest(self._propose())
        return Job(self._history.begin(row), row)

    def hear(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        self._history.note(trial, epoch, metric)
        lost = epoch > 1 and not math.isfinite(metric)
        self._lost_epochs[trial] = self._lost_epochs.get(trial, 0) + 1 if lost else 0
        if self._lost_epochs[trial] > _RECOVERIES:
            self._over.append(trial)
            return Decision.STOP
        if epoch == self._table.epochs:
            self._over.append(trial)
        return Decision.CONTINUE

    def incumbent(self) -> int | None:
        best = self._history.best(self._over)
        return self._history.best() if best is None else best

    def _propose(self) -> Floats:
        if not self._history.rows:
            return self._first()
        points, fitness = self._generation()
        order = np.argsort(-fitness, kind="stable")
        parents, strength = points[order[:_PARENTS]], fitness[order[:_PARENTS]]
        weights = strength - strength.min() + 1e-6
        parent = parents[self._random.choice(len(parents), p=weights / weights.sum())]
        decay = 1 - _STALE_DECAY * min(_stale(fitness) / _STALE_TRIALS, 1)
        return self._mutate(parent, points[order], decay)

    def _first(self) -> Floats:
        if self._table.baseline is None:
            return self._random.random(len(self._rows.names))
        default: Floats = self._table.points[self._table.baseline]
        return default

    def _generation(self) -> tuple[Floats, Floats]:
        """Points and fitness of the trials that are over, or of the first trial alone before any is."""
        trials = self._over or [0]
        points = self._table.points[[self._history.rows[t] for t in trials]]
        last = np.array([self._history.last[t] for t in trials])
        return points, np.where(np.isfinite(last), last, self._history.worst(0.0))

    def _mutate(self, parent: Floats, ranked: Floats, decay: float) -> Floats:
        """A child of a parent.

        Args:
            ranked: the points of all trials that are over, best first.
        """
        dimensions = len(parent)
        mask = self._random.random(dimensions) < _MUTATED
        step = _STEP * decay
        elite = ranked[: min(math.ceil(_ELITE_SHARE * len(ranked)), _ELITE_MOST)]
        confidence = min(len(elite) / dimensions, 1.0)
        if len(ranked) >= _COVARIANCE_FROM and self._random.random() < _COVARIANCE_USED * confidence:
            covariance = decay**2 * confidence * np.cov(elite, rowvar=False) + step**2 / dimensions * np.eye(dimensions)
            return _reflected(np.where(mask, self._random.multivariate_normal(parent, covariance), parent))
        return np.clip(parent + mask * self._random.standard_normal(dimensions) * step, 0.0, 1.0)


def _stale(fitness: Floats) -> int:
    """How many trials have ended since the best one."""
    return len(fitness) - 1 - int(np.argmax(np.round(fitness, 5)))


def _reflected(point: Floats) -> Floats:
    """A point thrown back into the unit cube by its walls."""
    return 1.0 - np.abs(point % 2.0 - 1.0)


METHODS = {"ultralytics-ga (re-implementation)": UltralyticsGa}
