"""Random search: the default, then uniform draws, every run trained to its end."""

import numpy as np

from benchmarks.decisions.peers.history import History
from benchmarks.decisions.peers.rows import Rows
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable


class RandomSearch:
    """Search whose final run uses the best full run; before there is one, the best last value."""

    def __init__(self, table: CurveTable, pool: Pool, seed: int, workers: int) -> None:
        self._table = table
        self._rows = Rows(table, pool)
        self._random = np.random.default_rng(seed)
        self._history = History()

    def ask(self) -> Job | None:
        if self._rows.exhausted:
            return None
        drawn = self._random.random(len(self._rows.names))
        first = not self._history.rows and self._table.baseline is not None
        row = self._rows.take_nearest(self._table.points[self._table.baseline] if first else drawn)
        return Job(self._history.begin(row), row)

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        self._history.note(trial, epoch, metric)
        return Decision.CONTINUE

    def incumbent(self) -> int | None:
        best = self._history.best_at(self._table.epochs)
        return self._history.best() if best is None else best


METHODS = {"random": RandomSearch}
