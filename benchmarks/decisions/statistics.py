"""Statistics of the results: means of a method, and its paired differences to another with their uncertainty."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.decisions.results import Run
from tuner.unit_cube import Floats

RESAMPLES = 4000

Pairs = Mapping[str, Sequence[float]]
"""One value per seed, by task."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def regret_at(percent: int) -> Callable[[Run], float]:
    """Return a function that gives a run's regret at this percentage of the budget."""

    def value(run: Run) -> float:
        return run.regret[percent]

    return value


def mean_over(runs: Iterable[Run], value: Callable[[Run], float]) -> float:
    """Return the mean over tasks of the mean over seeds, so that tasks with more seeds weigh the same.

    Raises:
        ValueError: There are no runs.
    """
    by_task = defaultdict(list)
    for run in runs:
        by_task[run.key.task].append(value(run))
    if not by_task:
        raise ValueError("a mean needs at least one run")
    return float(np.mean([np.mean(values) for values in by_task.values()]))


def differences(runs: Iterable[Run], method: str, reference: str, percent: int) -> dict[str, list[float]]:
    """Return the method's regret minus the reference's by task, for each common seed; below 0 is better."""
    regret: dict[str, dict[tuple[str, int], float]] = {method: {}, reference: {}}
    for run in runs:
        if run.key.method in regret:
            regret[run.key.method][run.key.task, run.key.seed] = run.regret[percent]
    paired: dict[str, list[float]] = defaultdict(list)
    for task, seed in sorted(regret[method].keys() & regret[reference].keys()):
        paired[task].append(regret[method][task, seed] - regret[reference][task, seed])
    return dict(paired)


def bootstrap(pairs: Pairs, *, resamples: int = RESAMPLES, seed: int = 0) -> Difference:
    """Resample tasks, then seeds within each drawn task.

    Raises:
        ValueError: There are no pairs.
    """
    if not pairs:
        raise ValueError("a bootstrap needs at least one pair")
    random = np.random.default_rng(seed)
    values = [np.asarray(of_task, float) for of_task in pairs.values()]
    drawn = random.integers(len(values), size=(resamples, len(values)))
    means = np.empty(drawn.shape)
    for task, of_task in enumerate(values):
        here = drawn == task
        seeds = random.integers(len(of_task), size=(int(here.sum()), len(of_task)))
        means[here] = of_task[seeds].mean(axis=1)
    low, high = np.percentile(means.mean(axis=1), (2.5, 97.5))
    return Difference(float(np.mean([of_task.mean() for of_task in values])), float(low), float(high))


def common(runs: Sequence[Run], *methods: str) -> list[Run]:
    """Return the runs of these methods on the tasks and seeds that all of them have."""
    seen = [{(run.key.task, run.key.seed) for run in runs if run.key.method == method} for method in methods]
    shared = set.intersection(*seen)
    return [run for run in runs if run.key.method in methods and (run.key.task, run.key.seed) in shared]


def regret_curve(runs: Sequence[Run]) -> tuple[tuple[int, ...], Floats]:
    """Return percentages of the budget and the mean regret at each; both empty without runs."""
    percents = tuple(sorted(runs[0].regret)) if runs else ()
    return percents, np.array([mean_over(runs, regret_at(percent)) for percent in percents])


def budget_to_match(runs: Sequence[Run], method: str, reference: str) -> int | None:
    """Return the percentage of budget at which a method's mean regret reaches the reference's final one for good.

    None if it never reaches it for good, or if no task and seed is common to both.
    """
    both = common(runs, method, reference)
    percents, curve = regret_curve([run for run in both if run.key.method == method])
    _, goal = regret_curve([run for run in both if run.key.method == reference])
    matched: int | None = None
    for percent, regret in zip(reversed(percents), curve[::-1], strict=True):
        if regret > goal[-1] + 1e-12:
            break
        matched = percent
    return matched
