"""Optuna's TPE with its defaults (multivariate, constant liar), alone and with each of its usual pruners."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from benchmarks.decisions.peers.history import History
from benchmarks.decisions.peers.rows import Rows
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable

optuna.logging.set_verbosity(optuna.logging.ERROR)


def distributions(rows: Rows) -> dict[str, BaseDistribution]:
    """Return a table's search space in Optuna's terms."""
    return {
        name: CategoricalDistribution(range(choices)) if choices else FloatDistribution(0.0, 1.0)
        for name, choices in rows.choices.items()
    }


class SnappingSampler(BaseSampler):
    """Sampler that proposes rows of the table, so that Optuna learns what is really trained.

    Check for a free row before each call: the last one may be taken.
    """

    def __init__(self, sampler: BaseSampler, rows: Rows) -> None:
        self._sampler = sampler
        self._rows = rows
        self._distributions = distributions(rows)
        self._rows_by_trial: dict[int, int] = {}

    def row_of(self, number: int, params: dict[str, Any]) -> int:
        """Return the row of the trial with this number; Optuna's queue, not this sampler, proposes an enqueued one."""
        if number not in self._rows_by_trial:
            self._rows_by_trial[number] = self._rows.take(params)
        return self._rows_by_trial[number]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        relative = self._sampler.infer_relative_search_space(study, trial)
        values = self._sampler.sample_relative(study, trial, relative)
        for name, distribution in search_space.items():
            if name not in values:
                values[name] = self._sampler.sample_independent(study, trial, name, distribution)
        row = self._rows.take(values)
        self._rows_by_trial[trial.number] = row
        return self._rows.values(row)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError("every parameter is sampled relatively")

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)


class OptunaTpe:
    """Objective as Optuna's documentation writes it: report each epoch from step 0, ask `should_prune`, return.

    A trial whose last value is NaN is reported as FAIL, as `optimize` does. The final run uses `best_trial`, the best
    COMPLETE one; before there is one, the best last value.
    """

    def __init__(self, make_pruner: Callable[[], BasePruner], table: CurveTable, pool: Pool, seed: int, workers: int):
        self._epochs = table.epochs
        self._rows = Rows(table, pool)
        self._sampler = SnappingSampler(TPESampler(seed=seed), self._rows)
        # HyperbandPruner chooses a trial's bracket by the study's name.
        self._study = optuna.create_study(
            direction="maximize", sampler=self._sampler, pruner=make_pruner(), study_name=f"decisions-{seed}"
        )
        if self._rows.default is not None:
            self._study.enqueue_trial(self._rows.default)
        self._trials: list[Trial] = []
        self._history = History()
        self._complete: list[int] = []

    def ask(self) -> Job | None:
        if self._rows.exhausted:
            return None
        trial = self._study.ask(distributions(self._rows))
        self._trials.append(trial)
        row = self._sampler.row_of(trial.number, trial.params)
        return Job(self._history.begin(row), row)

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        self._history.note(trial, epoch, metric)
        running = self._trials[trial]
        running.report(metric, epoch - 1)
        if running.should_prune():
            self._study.tell(running, state=TrialState.PRUNED)
            return Decision.STOP
        if epoch == self._epochs:
            self._finish(trial, metric)
        return Decision.CONTINUE

    def _finish(self, trial: int, metric: float) -> None:
        if math.isnan(metric):
            self._study.tell(self._trials[trial], state=TrialState.FAIL)
        else:
            self._study.tell(self._trials[trial], metric)
            self._complete.append(trial)

    def incumbent(self) -> int | None:
        best = self._history.best(self._complete)
        return self._history.best() if best is None else best


METHODS = {
    "optuna-tpe": partial(OptunaTpe, NopPruner),
    "optuna-tpe-median": partial(OptunaTpe, MedianPruner),
    "optuna-tpe-sha": partial(OptunaTpe, SuccessiveHalvingPruner),
    "optuna-tpe-hyperband": partial(OptunaTpe, HyperbandPruner),
}
