"""Ultralytics' genetic tuner, reimplemented from the behaviour of release 8.4.190, without any of its code."""

import math

import numpy as np

from benchmarks.decisions.peers.history import History
from benchmarks.decisions.peers.rows import Rows
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats

_PARENTS = 9
"""Number of best trials that may become parents, each in proportion to its lead over the last of them."""

_STEP = 0.2
"""Standard deviation of a mutation, as a share of a parameter's range."""

_STALE_TRIALS, _STALE_DECAY = 25, 0.2
"""Trials without improvement over which steps shrink linearly, and the share by which they shrink."""

_MUTATED = 0.5
"""Probability that a parameter mutates."""

_COVARIANCE_FROM, _ELITE_SHARE, _ELITE_MOST = 30, 0.2, 30
_COVARIANCE_USED = 0.4
"""Share of mutations that follow the covariance of an elite, once `_COVARIANCE_FROM` trials are finished."""

_RECOVERIES = 3
"""Number of consecutive NaN recoveries from the last checkpoint before it gives up on a run."""


class UltralyticsGa:
    """Search that trains every run to its end; each free slot gets a child of the best runs so far.

    As with its MongoDB option, all workers share one history. The default comes first, or a random proposal if the
    table has no default; until a run is finished the other trials mutate it. A run that stays NaN after three
    recoveries has failed. Its fitness, 0 in ultralytics, is the worst last value seen here, as a table's metric need
    not start at 0. Fitness is the last value instead of that of the best checkpoint, because configurations are judged
    by it here. The search mutates in the table's unit cube, including logarithmic scales, whereas ultralytics uses
    linear spaces only. A child that exists already, which ultralytics would draw again, is replaced by the nearest free
    row. The final run uses the best full run; before there is one, the best last value.
    """

    def __init__(self, table: CurveTable, pool: Pool, seed: int, workers: int) -> None:
        self._table = table
        self._rows = Rows(table, pool)
        self._random = np.random.default_rng(seed)
        self._history = History()
        self._over: list[int] = []
        """Finished trials, in order."""
        self._lost_epochs: dict[int, int] = {}
        """Consecutive NaN epochs by trial, without the first epoch of the run."""

    def ask(self) -> Job | None:
        if self._rows.exhausted:
            return None
        row = self._rows.take_nearest(self._propose())
        return Job(self._history.begin(row), row)

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
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
        """Return points and fitness of the finished trials, or of the first trial alone before any is finished."""
        trials = self._over or [0]
        points = self._table.points[[self._history.rows[t] for t in trials]]
        last = np.array([self._history.last[t] for t in trials])
        return points, np.where(np.isfinite(last), last, self._history.worst(0.0))

    def _mutate(self, parent: Floats, ranked: Floats, decay: float) -> Floats:
        """Mutate a parent into a child.

        Args:
            parent: Point to mutate.
            ranked: Points of all finished trials, best first.
            decay: Factor of the step size.
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
    """Count the trials that finished after the best one."""
    return len(fitness) - 1 - int(np.argmax(np.round(fitness, 5)))


def _reflected(point: Floats) -> Floats:
    """Reflect a point at the walls of the unit cube back into it."""
    return 1.0 - np.abs(point % 2.0 - 1.0)


METHODS = {"ultralytics-ga (re-implementation)": UltralyticsGa}
