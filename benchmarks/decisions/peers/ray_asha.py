"""Ray Tune's ASHA with Optuna's TPE, connected as in ultralytics' `model.tune(use_ray=True)`."""

import logging
from functools import partial
from types import SimpleNamespace

from optuna.samplers import TPESampler
from ray.tune.result import TRAINING_ITERATION
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.decisions.peers.history import History
from benchmarks.decisions.peers.optuna_tpe import SnappingSampler, distributions
from benchmarks.decisions.peers.rows import Rows
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable

logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)  # it warns of each NaN

_REDUCTION_FACTOR = 3


class RayAsha:
    """Ray's own scheduler and searcher objects, called in the same order as by Tune's controller.

    A stopped trial is therefore told to Optuna as COMPLETE with its last value, which is not reported as an
    intermediate value. If that value is NaN, Optuna refuses it and the trial stays RUNNING there forever. The final run
    uses the result of `get_best_result`: the best finite last value, of any epoch.
    """

    def __init__(self, grace_period: int, table: CurveTable, pool: Pool, seed: int, workers: int) -> None:
        self._rows = Rows(table, pool)
        tpe = TPESampler(multivariate=True, constant_liar=True, seed=seed)
        self._sampler = SnappingSampler(tpe, self._rows)
        self._searcher = OptunaSearch(
            space=distributions(self._rows),
            metric="metric",
            mode="max",
            sampler=self._sampler,
            points_to_evaluate=None if self._rows.default is None else [self._rows.default],
        )
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="metric",
            mode="max",
            max_t=table.epochs,
            grace_period=min(grace_period, table.epochs),
            reduction_factor=_REDUCTION_FACTOR,
        )
        self._history = History()

    def ask(self) -> Job | None:
        if self._rows.exhausted:
            return None
        trial = len(self._history.rows)
        params = self._searcher.suggest(str(trial))
        self._scheduler.on_trial_add(None, _tune_trial(trial))
        row = self._sampler.row_of(trial, params)
        return Job(self._history.begin(row), row)

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        self._history.note(trial, epoch, metric)
        result = {"epoch": epoch, TRAINING_ITERATION: epoch, "metric": metric}
        if self._scheduler.on_trial_result(None, _tune_trial(trial), result) == TrialScheduler.STOP:
            self._searcher.on_trial_complete(str(trial), result)
            return Decision.STOP
        self._searcher.on_trial_result(str(trial), result)
        return Decision.CONTINUE

    def incumbent(self) -> int | None:
        return self._history.best()


def _tune_trial(trial: int) -> SimpleNamespace:
    """Return the attributes of a trial that the scheduler reads."""
    return SimpleNamespace(trial_id=str(trial))


METHODS = {
    "ray-asha-10-optuna-tpe": partial(RayAsha, 10),
    "ray-asha-1-optuna-tpe": partial(RayAsha, 1),
}
