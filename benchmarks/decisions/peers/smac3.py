"""SMAC3's multi-fidelity facade: Hyperband over a random forest."""

import math
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

from ConfigSpace import (  # type: ignore[import-not-found]
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    UniformFloatHyperparameter,
)
from smac import MultiFidelityFacade, Scenario  # type: ignore[import-not-found]
from smac.initial_design import RandomInitialDesign  # type: ignore[import-not-found]
from smac.main.config_selector import ConfigSelector  # type: ignore[import-not-found]
from smac.runhistory import StatusType, TrialInfo, TrialValue  # type: ignore[import-not-found]

from benchmarks.decisions.peers.rows import Rows
from benchmarks.decisions.peers.rungs import Targets, epochs_of
from tuner.simulation.replay import Decision, Job, Pool
from tuner.simulation.tables import CurveTable

_TRIALS = 100
"""About the number of trials, in SMAC's count, for a budget of 20 full runs. A quarter is the initial random design."""


def configuration_space(rows: Rows, seed: int) -> ConfigurationSpace:
    """Return a table's search space in ConfigSpace's terms."""
    space = ConfigurationSpace(seed=seed)
    for name, choices in rows.choices.items():
        if choices:
            space.add(CategoricalHyperparameter(name, list(range(choices))))
        else:
            space.add(UniformFloatHyperparameter(name, 0.0, 1.0))
    return space


class DefaultFirst(RandomInitialDesign):  # type: ignore[misc]
    """The facade's initial design with its additional configuration first; SMAC would put it last."""

    def select_configurations(self) -> list[Configuration]:
        *random, default = super().select_configurations()
        return [default, *random]


class SnappingSelector(ConfigSelector):  # type: ignore[misc]
    """SMAC's selector limited to rows of the table, so that its model knows what is really trained.

    Hyperband fills a stage at once, so rows are taken before they are trained.
    """

    def __init__(self, scenario: Scenario, rows: Rows) -> None:
        super().__init__(scenario)
        self._rows = rows
        self.row_by_configuration: dict[Configuration, int] = {}

    def __iter__(self) -> Iterator[Configuration]:
        for proposal in super().__iter__():
            if self._rows.exhausted:
                return
            row = self._rows.take(proposal)
            values = self._rows.values(row)
            snapped = Configuration(proposal.config_space, values=values, origin=proposal.origin)
            self.row_by_configuration[snapped] = row
            yield snapped


class Smac:
    """Ask and tell, with budgets of 1 to all epochs, rounded.

    SMAC trains a configuration from scratch at each budget; here it resumes where it was paused, which favours SMAC.
    NaN is reported as CRASHED, as its own runner does. The scenario's infinite `crash_cost` cannot be modelled ("Input
    y contains NaN"), so the cost is the worst so far. The final run uses SMAC's incumbent, the best at its highest
    budget so far; before there is one, the best last value.
    """

    def __init__(self, table: CurveTable, pool: Pool, seed: int, workers: int) -> None:
        self._folder = TemporaryDirectory()
        rows = Rows(table, pool)
        scenario = Scenario(
            configuration_space(rows, seed),
            deterministic=True,
            min_budget=1,
            max_budget=table.epochs,
            n_trials=_TRIALS,
            seed=seed,
            output_directory=self._folder.name,
        )
        self._selector = SnappingSelector(scenario, rows)
        self._facade = MultiFidelityFacade(
            scenario,
            config_selector=self._selector,
            initial_design=_initial_design(scenario, rows),
            logging_level=False,
            overwrite=True,
        )
        self._targets = Targets()
        self._asked: dict[int, TrialInfo] = {}
        """SMAC's request by running trial, to answer."""

    def ask(self) -> Job | None:
        try:
            asked = self._facade.ask()
        except StopIteration:
            return None
        job = self._targets.train(self._selector.row_by_configuration[asked.config], epochs_of(asked.budget))
        self._asked[job.trial] = asked
        return job

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        if not self._targets.report(trial, epoch, metric):
            return Decision.CONTINUE
        self._facade.tell(self._asked.pop(trial), self._value(metric), save=False)
        return Decision.PAUSE

    def incumbent(self) -> int | None:
        incumbents: list[Any] = self._facade.intensifier.get_incumbents()
        trials = [self._targets.trial_of(self._selector.row_by_configuration[i]) for i in incumbents]
        best = self._targets.history.best(trials)
        return self._targets.history.best() if best is None else best

    def _value(self, metric: float) -> TrialValue:
        if math.isfinite(metric):
            return TrialValue(cost=-metric)
        return TrialValue(cost=-self._targets.history.worst(-1.0), status=StatusType.CRASHED)


def _initial_design(scenario: Scenario, rows: Rows) -> RandomInitialDesign | None:
    """Return a design with the default; None for the facade's own, which has the same random configurations."""
    if rows.default is None:
        return None
    default = Configuration(scenario.configspace, values=rows.default)
    return DefaultFirst(scenario, additional_configs=[default])


METHODS = {"smac3": Smac}
