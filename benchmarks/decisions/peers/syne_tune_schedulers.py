"""Syne Tune's schedulers, called in the same order as by its `Tuner`; for 0.13 and for 0.16."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial  # type: ignore[import-not-found]
from syne_tune.config_space import choice, uniform  # type: ignore[import-not-found]
from syne_tune.optimizer.scheduler import SchedulerDecision  # type: ignore[import-not-found]

from benchmarks.decisions.peers.history import History
from benchmarks.decisions.peers.rows import Rows, Values
from tuner.simulation.replay import Decision, Job

logging.getLogger("syne_tune").setLevel(logging.ERROR)
logging.getLogger().setLevel(logging.ERROR)  # 0.16 warns through the root logger

_DECISIONS = {
    SchedulerDecision.CONTINUE: Decision.CONTINUE,
    SchedulerDecision.PAUSE: Decision.PAUSE,
    SchedulerDecision.STOP: Decision.STOP,
}

Propose = Callable[..., dict[str, Any] | None]


def config_space(rows: Rows) -> dict[str, Any]:
    """Return a table's search space in Syne Tune's terms."""
    return {
        name: choice(list(range(choices))) if choices else uniform(0.0, 1.0) for name, choices in rows.choices.items()
    }


def points_to_evaluate(rows: Rows) -> list[Values] | None:
    """Return what to try first: the default; without it None, from which 0.13 makes the middle of the space."""
    return None if rows.default is None else [rows.default]


class SyneTune:
    """Scheduler whose searcher proposes rows of the table, so that Syne Tune knows what is really trained.

    NaN is passed on unchanged. The final run uses the best last value. `Tuner.best_config` would use the best value of
    any epoch; with that rule the ASHAs, where we tried both, ended worse.
    """

    def __init__(self, rows: Rows, scheduler: Any, suggest: Callable[[int], Any], seed: int) -> None:
        """Search with a scheduler.

        Args:
            rows: The rows of the table.
            scheduler: Scheduler to call.
            suggest: Suggestion of the scheduler for the number of a new trial.
            seed: Seed for the draws.
        """
        np.random.seed(seed)  # 0.16 draws some configurations from numpy's own generator
        self._rows = rows
        self._scheduler = scheduler
        self._suggest = suggest
        self._history = History()
        self._trials: list[Trial] = []
        self._proposed = -1
        """Row of the last proposal."""

    def snapped(self, propose: Propose) -> Propose:
        """Wrap a searcher's proposing method so that it returns the nearest free row."""

        def snapped(*args: Any, **kwargs: Any) -> Values | None:
            config = None if self._rows.exhausted else propose(*args, **kwargs)
            if config is None:
                return None
            self._proposed = self._rows.take(config)
            return self._rows.values(self._proposed)

        return snapped

    def ask(self) -> Job | None:
        suggestion = self._suggest(len(self._trials))
        if suggestion is None:
            return None
        if suggestion.spawn_new_trial_id:
            return self._begin(suggestion.config)
        return self._resume(suggestion)

    def _begin(self, config: dict[str, Any]) -> Job:
        trial = self._history.begin(self._proposed)
        self._trials.append(Trial(trial_id=trial, config=config, creation_time=datetime.now()))
        self._scheduler.on_trial_add(self._trials[trial])
        return Job(trial, self._proposed)

    def _resume(self, suggestion: Any) -> Job:
        trial = int(suggestion.checkpoint_trial_id)
        if suggestion.config is not None:
            self._trials[trial].config = suggestion.config
        return Job(trial, self._history.rows[trial])

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        self._history.note(trial, epoch, metric)
        decision = self._scheduler.on_trial_result(self._trials[trial], {"epoch": epoch, "metric": metric})
        if decision != SchedulerDecision.CONTINUE:
            self._scheduler.on_trial_remove(self._trials[trial])
        return _DECISIONS[decision]

    def incumbent(self) -> int | None:
        return self._history.best()
