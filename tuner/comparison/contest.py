"""The records of a comparison: which configurations run on which seeds, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MIN_SEEDS = 3


class Run(NamedTuple):
    """One configuration trained once."""

    trial: int
    seed: int


Evidence = Mapping[tuple[int, int], float]
"""Metric at the end of a run, by trial number and seed. Higher is better; not finite for a run that diverged or failed
for good. Runs outside the plan are ignored."""


class Conclusion(StrEnum):
    """What the runs say about the gain."""

    BETTER = "better"
    NOT_SHOWN = "not shown"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonPlan:
    """Which configurations are compared, on which seeds, and how many runs that may take.

    Raises:
        ValueError: a trial or a seed occurs twice, there is no candidate, or a limit makes no sense.
    """

    baseline: int
    candidates: tuple[int, ...]
    """Trial numbers, the best of the search first."""
    seeds: tuple[int, ...]
    """In order of use. Leave out the search's own seed: the candidates were chosen by it."""
    max_runs: int
    """All runs together."""
    min_seeds: int = MIN_SEEDS
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.candidates:
            raise ValueError("A comparison needs a candidate, but has none; name a trial besides the baseline.")
        if len(set(self.trials)) < len(self.trials):
            raise ValueError(f"A trial takes part once, but the trials are {self.trials}; name each once.")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"A seed is used once, but the seeds are {self.seeds}; name each once.")
        if self.min_seeds < 2:
            raise ValueError(f"A spread takes two seeds, but min_seeds is {self.min_seeds}; give 2 or more.")
        if not 0.001 <= self.alpha <= 0.5:
            raise ValueError(f"alpha must be from 0.001 to 0.5, but is {self.alpha}; 0.05 gives 95 % intervals.")

    @property
    def trials(self) -> tuple[int, ...]:
        """The baseline, then the candidates."""
        return (self.baseline, *self.candidates)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run that the plan allows, needed or not."""
        return tuple(Run(trial, seed) for trial in self.trials for seed in self.seeds)

    @property
    def first_runs(self) -> int:
        """Runs before the first look."""
        return self.min_seeds * len(self.trials)

    @property
    def max_seeds(self) -> int:
        """Seeds that the leader and the baseline can reach; 0 if there is no room for the first look."""
        if self.max_runs < self.first_runs or len(self.seeds) < self.min_seeds:
            return 0
        return min(len(self.seeds), self.min_seeds + (self.max_runs - self.first_runs) // 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigurationResult:
    """The runs of one configuration, summed up."""

    trial: int
    mean: float | None
    """Over the seeds on which it did not fail; none without any."""
    seeds: int
    """Runs that ended well."""
    failures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The result of a comparison; gain and interval have the unit of the metric."""

    conclusion: Conclusion
    decided: bool
    """Whether no further run is needed; otherwise the rest is preliminary."""
    winner: int
    """The trial to train in full: the leader if its lead is above zero, else the baseline."""
    leader: int | None
    """The candidate that gain, interval and p-value are about; none before the first look."""
    gain: float | None
    """The leader's mean difference to the baseline. It is biased upwards, most where the interval is wide: the leader
    is the best of several, and its lead is what ended the comparison."""
    interval: tuple[float, float] | None
    """Contains the true gain with probability 1 - alpha, selection and looks included."""
    p_value: float | None
    """Chance of as convincing a lead, or of an earlier claim, if no candidate were better; one-sided."""
    seeds: int
    """Pairs of runs behind gain and interval."""
    runs: int
    """Runs of the plan that have ended."""
    results: tuple[ConfigurationResult, ...]
    """The baseline first, then the candidates in their order."""
    statement: str


def plan(
    ranking: Sequence[int], *, baseline: int, search_seed: int, max_runs: int, candidates: int = 3, max_seeds: int = 12
) -> ComparisonPlan:
    """Plan a comparison within `max_runs` runs: drop candidates rather than go below three seeds.

    Args:
        ranking: trial numbers, the best first; the baseline may be among them.
        search_seed: the seed that the search trained with.

    Raises:
        ValueError: the ranking names nothing but the baseline.
    """
    room = places(max_runs, candidates)
    chosen = tuple(dict.fromkeys(trial for trial in ranking if trial != baseline))[:room]
    seeds = tuple(range(search_seed + 1, search_seed + 1 + max_seeds))
    return ComparisonPlan(baseline=baseline, candidates=chosen, seeds=seeds, max_runs=max_runs)


def places(max_runs: int, candidates: int = 3) -> int:
    """Count the candidates that `max_runs` runs have room for, on the least number of seeds."""
    return max(1, min(candidates, max_runs // MIN_SEEDS - 1))
