"""Contestants that claim that a configuration is better than the default, and when they do.

Only our tool gives a verdict. We judge the others by what they show: the configuration that they return, and its metric
next to the default's. A higher metric counts as "better". Each has a budget of runs, including the default's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.verdicts.tables import Floats
from benchmarks.verdicts.worlds import World
from tuner.comparison.contest import MIN_SEEDS, ComparisonPlan, Conclusion, places
from tuner.comparison.verdict import next_runs, verdict

BUDGET = 100
VERDICT_RUNS = 20
"""Number of runs of the budget for our verdict; the search gets the rest."""
LEAST_RUNS = 2 * MIN_SEEDS
"""Number of runs of our smallest verdict: the default and one candidate."""
_SEEDS = 3
_RESAMPLE_EVERY = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Conclusion of a contestant."""

    winner: int
    """Row of the world; 0 is the default."""
    gain: float
    """Measured gain over the default."""
    better: bool
    """True if the claim says, or implies, that it is better than the default."""
    runs: int
    leader: int | None = None
    """Row that the interval refers to."""
    interval: tuple[float, float] | None = None
    """Interval of the gain; only ours gives one."""


Contestant = Callable[[World], Claim]


def best_of_all(world: World) -> Claim:
    """Choose the best metric on one seed, like Optuna, Ray Tune, Syne Tune and ultralytics."""
    values = world.metrics[:BUDGET, 0]
    return _shown(int(np.argmax(values)), values, len(values))


def repeater(world: World) -> Claim:
    """Choose the best mean over three seeds of every trial: Ray's Repeater, Keras Tuner's executions_per_trial."""
    values = world.metrics[: BUDGET // _SEEDS, :_SEEDS].mean(axis=1)
    return _shown(int(np.argmax(values)), values, len(values) * _SEEDS)


def racing(world: World) -> Claim:
    """Race as SMAC's intensifier with max_config_calls=3: seed by seed against the incumbent, out when behind."""
    means = np.cumsum(world.metrics[:, :_SEEDS], axis=1) / np.arange(1, _SEEDS + 1)
    incumbent, seeds, runs = 0, 1, 1
    for challenger in range(1, len(means)):
        for used in range(seeds):
            runs += 1
            if means[challenger, used] <= means[incumbent, used]:
                break
        else:
            incumbent = challenger
        if seeds < _SEEDS:
            seeds, runs = seeds + 1, runs + 1
        if runs + seeds + 1 > BUDGET:
            break
    return _shown(incumbent, means[:, seeds - 1], runs)


def resampling(world: World) -> Claim:
    """Resample as CARBS with one objective: every fifth run repeats the configuration with the best mean so far."""
    means = np.full(len(world.metrics), -np.inf)
    counts = [0] * len(means)
    tried = 0
    for run in range(1, BUDGET + 1):
        best = int(means.argmax())
        again = run % _RESAMPLE_EVERY == 0 and counts[best] < world.metrics.shape[1]
        row = best if again else tried
        tried += not again
        counts[row] += 1
        means[row] = world.metrics[row, : counts[row]].mean()
    return _shown(int(means.argmax()), means, BUDGET)


def untested(world: World) -> Claim:
    """Run ours without a test: three more seeds for the best three and the default, then the best mean wins."""
    best = _search(world, BUDGET - VERDICT_RUNS)[:3]
    rows = np.append(0, best)
    values = world.metrics[rows, 1:4].mean(axis=1)
    winner = int(np.argmax(values))
    gain = float(values[winner] - values[0])
    runs = BUDGET - VERDICT_RUNS + values.size * _SEEDS
    return Claim(winner=int(rows[winner]), gain=gain, better=winner > 0, runs=runs)


def ours(world: World, runs: int = VERDICT_RUNS) -> Claim:
    """Apply `tuner.comparison.verdict` to the best three, or the best one with 6 runs, of a search with the rest."""
    searched = BUDGET - runs
    plan = ComparisonPlan(
        baseline=0,
        candidates=tuple(int(row) for row in _search(world, searched)[: places(runs)]),
        seeds=tuple(range(1, world.metrics.shape[1])),
        max_runs=runs,
    )
    evidence: dict[tuple[int, int], float] = {}
    while asked := next_runs(plan, evidence):
        evidence |= {run: float(world.metrics[run]) for run in asked}
    found = verdict(plan, evidence)
    return Claim(
        winner=found.winner,
        gain=found.gain or 0.0,
        better=found.conclusion == Conclusion.BETTER,
        runs=searched + found.runs,
        leader=found.leader,
        interval=found.interval,
    )


CONTESTANTS: dict[str, Contestant] = {
    "best of 100, one seed": best_of_all,
    "racing, 3 seeds": racing,
    "every trial on 3 seeds": repeater,
    "best one resampled": resampling,
    "best 3 again, no test": untested,
    "ours": ours,
    "ours, 6 runs": partial(ours, runs=LEAST_RUNS),
}


def _search(world: World, trials: int) -> list[int]:
    """Return the rows by metric on the search's seed, best first, without the default."""
    return [int(row) for row in 1 + np.argsort(-world.metrics[1:trials, 0], kind="stable")]


def _shown(winner: int, values: Floats, runs: int) -> Claim:
    gain = float(values[winner] - values[0])
    return Claim(winner=winner, gain=gain, better=gain > 0, runs=runs)
