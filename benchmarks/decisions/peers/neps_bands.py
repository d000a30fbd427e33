"""NePS: PriorBand with the default as its prior, or Hyperband if nobody knows a default."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import neps  # type: ignore[import-not-found]
import numpy as np
import torch

from benchmarks.decisions.peers.rows import Rows
from benchmarks.decisions.peers.rungs import Targets
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable

_FIDELITY = "epochs"


def pipeline_space(rows: Rows, epochs: int) -> neps.PipelineSpace:
    """Return a table's search space in NePS' terms, with the default as prior of NePS' own confidence, `low`."""
    parameters: dict[str, Any] = {_FIDELITY: neps.IntegerFidelity(1, epochs)}
    for name, choices in rows.choices.items():
        prior = {} if rows.default is None else {"prior": rows.default[name], "prior_confidence": "low"}
        domain = neps.Categorical(tuple(range(choices)), **prior) if choices else neps.Float(0.0, 1.0, **prior)
        parameters[name] = domain
    return type("Space", (neps.PipelineSpace,), parameters)()


class SnappingOptimizer:
    """NePS' optimizer limited to rows of the table, so that NePS knows what is really trained."""

    def __init__(self, optimizer: Any, rows: Rows) -> None:
        self._optimizer = optimizer
        self._rows = rows
        self._row_by_configuration: dict[str, int] = {}
        """Row by NePS' number of a configuration, which it keeps at each fidelity."""

    def __call__(self, trials: Mapping[str, Any], budget_info: Any, n: int | None = None) -> neps.SampledConfig:
        sampled = self._optimizer(trials, budget_info, n)
        number, _, _ = sampled.id.partition("_rung_")
        if number not in self._row_by_configuration:
            self._row_by_configuration[number] = self._rows.take(sampled.config)
        row = self._row_by_configuration[number]
        return replace(sampled, config={**sampled.config, **self._rows.values(row)})

    def row_of(self, identity: str) -> int:
        """Return the row of one of NePS' trials, a configuration at a fidelity."""
        return self._row_by_configuration[identity.partition("_rung_")[0]]


class Neps:
    """Ask and tell with the algorithm that `neps.run` chooses, and fidelities from 1 to all epochs.

    A promoted configuration resumes where it was paused. NaN is reported as an error that the objective raised: NePS
    takes the value NaN for a trial that has not ended, and its bracket would wait for it forever. With a default, its
    full run comes first. The final run uses the best last value.
    """

    def __init__(self, table: CurveTable, pool: Pool, seed: int, workers: int) -> None:
        np.random.seed(seed)  # NePS draws from the generators of numpy and torch
        torch.manual_seed(seed)
        self._rows = Rows(table, pool)
        space = pipeline_space(self._rows, table.epochs)
        optimizer = (
            neps.algorithms.hyperband(space)
            if self._rows.default is None
            else neps.algorithms.priorband(space, sample_prior_first="highest_fidelity")
        )
        self._optimizer = SnappingOptimizer(optimizer, self._rows)
        self._neps = neps.AskAndTell(self._optimizer)
        self._targets = Targets()
        self._asked: dict[int, Any] = {}
        """NePS' trial by running trial, to answer."""

    def ask(self) -> Job | None:
        if self._rows.exhausted:
            return None
        asked = self._neps.ask()
        job = self._targets.train(self._optimizer.row_of(asked.id), asked.config[_FIDELITY])
        self._asked[job.trial] = asked
        return job

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        if not self._targets.report(trial, epoch, metric):
            return Decision.CONTINUE
        result = -metric if math.isfinite(metric) else FloatingPointError("the run diverged")
        self._neps.tell(self._asked.pop(trial), result)
        return Decision.PAUSE

    def incumbent(self) -> int | None:
        return self._targets.history.best()


METHODS = {"neps": Neps}
