"""Define the strategies of a search, which decide which trials continue, as functions of its history.

`asha-stopping`: trials that are behind at a rung end there. `asha-promotion`: they pause, and resume if it turns out
later that they were ahead. `auto`: the same, but trials are compared by the final result that is to be expected of them
(`tuner.decisions.expectations`), and a model of all trials proposes most of the configurations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tuner.decisions.expectations import Trials, expectations
from tuner.decisions.history import BASELINE, History, Status
from tuner.decisions.proposers import Allowed, ModelProposer, Proposer, RandomProposer
from tuner.decisions.rungs import Rungs, arrivals
from tuner.unit_cube import Cube, Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class GoOn:
    """RungDecision: the trial continues to the next rung."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """RungDecision: the trial frees its slot, and can resume later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """RungDecision: the trial ends."""

    reason: str


RungDecision = GoOn | Pause | Stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of a search."""

    trials: int | None = None
    """Maximum number of trials; None if another limit ends the search."""
    full_runs: int = 3
    """Minimum number of trials that run to the last epoch once no more can start; the winner is one of them."""


class Strategy(Protocol):
    """Rule that decides by the history alone: the same history gives the same decisions."""

    @property
    def rungs(self) -> Rungs: ...

    def resumed(self, history: History) -> int | None:
        """Return a paused trial that should resume now; None if there is none."""

    def verdict(self, history: History, trial: int, epoch: int) -> RungDecision:
        """Return the verdict on a running trial after an epoch whose metric is in the history."""

    def hopeless(self, history: History) -> Mapping[int, str]:
        """Return the paused trials that can never resume, with the reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asha:
    """Asynchronous successive halving, stopping variant: Li et al., MLSys 2020 (arXiv 1810.05934), algorithm 2.

    It departs from the paper by stopping a trial at its rung instead of pausing it for a later promotion. It departs
    from Ray's and Optuna's versions by judging no trial at a rung with fewer than η values: with two values, a tiny
    difference would stop the second of two equally good configurations.
    """

    rungs: Rungs
    has_baseline: bool = True

    def resumed(self, history: History) -> int | None:
        return None

    def hopeless(self, history: History) -> Mapping[int, str]:
        return {}

    def verdict(self, history: History, trial: int, epoch: int) -> RungDecision:
        """Stop a trial that is behind the best 1/η so far.

        Equal values never stop a trial: before a detector has learnt anything, every mAP is 0.
        """
        if epoch not in self.rungs.epochs or (trial == BASELINE and self.has_baseline):
            return GoOn()
        values = history.values[:, epoch - 1]
        arrived = int(np.isfinite(values).sum())
        places = self.rungs.places(arrived)
        if arrived < self.rungs.reduction_factor or np.sum(values > values[trial]) < places:
            return GoOn()
        return Stop(
            reason=f"early stop at epoch {epoch}: {values[trial]:.4f} is not among the best {places} "
            f"of {arrived} trials at this rung"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """Asynchronous successive halving as in the paper.

    At a rung, a trial pauses unless it is among the best 1/η of those that have arrived. It resumes if it is among them
    later, because others turn out to be worse. It ends for good if that is impossible: a limited number of trials
    limits the number of places.
    """

    rungs: Rungs
    limits: Limits = Limits()
    has_baseline: bool = True
    by_expectation: bool = False
    """True to compare trials by their expected final results, False to compare them by the metric at the rung."""

    def resumed(self, history: History) -> int | None:
        for rung in reversed(self.rungs.epochs):
            for trial in self._ahead(history, rung):
                if history.status[trial] == Status.PAUSED and history.reached[trial] == rung:
                    return int(trial)
        return None

    def verdict(self, history: History, trial: int, epoch: int) -> RungDecision:
        if epoch not in self.rungs.epochs or (trial == BASELINE and self.has_baseline):
            return GoOn()
        if trial in self._ahead(history, epoch):
            return GoOn()
        reason = self._hopeless_at(history, epoch, np.array([trial])).get(trial)
        return Pause() if reason is None else Stop(reason=reason)

    def hopeless(self, history: History) -> Mapping[int, str]:
        paused = history.status == Status.PAUSED
        reasons: dict[int, str] = {}
        for rung in self.rungs.epochs:
            reasons |= self._hopeless_at(history, rung, np.flatnonzero(paused & (history.reached == rung)))
        return dict(sorted(reasons.items()))

    def _hopeless_at(self, history: History, rung: int, trials: Trials) -> Mapping[int, str]:
        """Return which of these trials at a rung can never continue, with the reason."""
        most = self._most_places(history)
        if most is None:
            return {}
        arrived, values = self._compared(history, rung)
        better = len(values) - np.searchsorted(np.sort(values), values, side="right")
        behind = np.isin(arrived, trials) & (better >= most)
        return {
            int(trial): f"early stop at epoch {rung} with {history.values[trial, rung - 1]:.4f}: "
            f"{ahead} trials are ahead at this rung, and at most {most} can continue"
            for trial, ahead in zip(arrived[behind], better[behind], strict=True)
        }

    def _ahead(self, history: History, rung: int) -> Trials:
        """Return the trials that can continue beyond a rung, the best first; of equal ones, the earlier first."""
        arrived, values = self._compared(history, rung)
        places = self.rungs.places(len(arrived))
        if self._no_more_begin(history):
            places = max(places, self.limits.full_runs)
        ranked = arrived[np.argsort(-values, kind="stable")[:places]]
        ahead: Trials = ranked[np.isfinite(history.values[ranked, rung - 1])]
        return ahead

    def _compared(self, history: History, rung: int) -> tuple[Trials, Floats]:
        """Return the trials at a rung and the values that rank them; minus infinity for lost trials."""
        if not self.by_expectation:
            return arrivals(history, self.rungs, rung)
        return expectations(history, self.rungs).at_rung.get(rung, (np.empty(0, np.int64), np.empty(0)))

    def _no_more_begin(self, history: History) -> bool:
        return self.limits.trials is not None and len(history) >= self.limits.trials

    def _most_places(self, history: History) -> int | None:
        if self.limits.trials is None:
            return None
        return max(self.rungs.places(max(self.limits.trials, len(history))), self.limits.full_runs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """Strategy and proposer of one search."""

    cube: Cube
    strategy: Strategy
    proposer: Proposer
    seed: int

    def propose(self, history: History, allowed: Allowed = lambda point: True) -> Floats | None:
        """Return the configuration of the next new trial as a tidy point; None if no allowed one was found."""
        return self.proposer.propose(history, self.cube, self.strategy.rungs, seed=self.seed, allowed=allowed)


def make_engine(
    name: str, cube: Cube, rungs: Rungs, *, seed: int, limits: Limits | None = None, has_baseline: bool = True
) -> Engine:
    """Create the engine of a strategy: "auto", "asha-promotion" or "asha-stopping". The last two propose at random."""
    strategy: Strategy
    if name == "asha-stopping":
        strategy = Asha(rungs=rungs, has_baseline=has_baseline)
    else:
        strategy = Promotion(
            rungs=rungs,
            limits=limits or Limits(),
            has_baseline=has_baseline,
            by_expectation=name == "auto",
        )
    model = ModelProposer() if has_baseline else ModelProposer(near_baseline=0.0)
    proposer: Proposer = model if name == "auto" else RandomProposer()
    return Engine(cube=cube, strategy=strategy, proposer=proposer, seed=seed)
