"""DEHB: differential evolution in Hyperband's brackets."""

import math
from tempfile import TemporaryDirectory
from typing import Any

from dehb import DEHB  # type: ignore[import-not-found]

from benchmarks.decisions.peers.rows import Rows
from benchmarks.decisions.peers.rungs import Targets, epochs_of
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats


class Dehb:
    """Ask and tell in the unit cube, with fidelities from 1 to all epochs, rounded; tell the row really trained.

    DEHB trains a configuration from scratch at each fidelity; here a promoted one resumes where it was paused, which
    favours DEHB. NaN is passed on and replaces nothing in the population. The final run uses DEHB's incumbent, the best
    value told at any fidelity; before there is one, the best last value. DEHB takes no initial configurations, so the
    default replaces the first one that it asks for, like any row that replaces a proposal.
    """

    def __init__(self, table: CurveTable, pool: Pool, seed: int, workers: int) -> None:
        self._folder = TemporaryDirectory()
        self._table = table
        self._rows = Rows(table, pool)
        self._dehb = DEHB(
            dimensions=len(self._rows.names),
            min_fidelity=1,
            max_fidelity=table.epochs,
            n_workers=1,  # its own workers are not used
            seed=seed,
            output_path=self._folder.name,
            save_freq="end",
            log_level="ERROR",
        )
        self._targets = Targets()
        self._row_by_configuration: dict[int, int] = {}
        """Row by DEHB's number of a configuration."""
        self._asked: dict[int, dict[str, Any]] = {}
        """DEHB's job by running trial, to answer."""
        self._incumbent: int | None = None

    def ask(self) -> Job | None:
        if self._rows.exhausted:
            return None
        asked = self._dehb.ask()
        number, target = int(asked["config_id"]), epochs_of(asked["fidelity"])
        row = self._row_by_configuration.get(number)
        if row is None or not self._targets.can_go_on(row, target):
            row = self._row_by_configuration[number] = self._rows.take_nearest(self._proposed(asked))
        job = self._targets.train(row, target)
        self._asked[job.trial] = {**asked, "config": self._table.points[row].copy()}
        return job

    def _proposed(self, asked: dict[str, Any]) -> Floats:
        first = not self._row_by_configuration and self._table.baseline is not None
        proposed: Floats = self._table.points[self._table.baseline] if first else asked["config"]
        return proposed

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        if not self._targets.report(trial, epoch, metric):
            return Decision.CONTINUE
        self._dehb.tell(self._asked.pop(trial), {"fitness": -metric, "cost": float(epoch)})
        if math.isfinite(metric) and -metric == self._dehb.get_incumbents()[1]:
            self._incumbent = trial
        return Decision.PAUSE

    def incumbent(self) -> int | None:
        return self._targets.history.best() if self._incumbent is None else self._incumbent


METHODS = {"dehb": Dehb}
