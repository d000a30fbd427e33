"""Define the records of a comparison: its plan, its runs and its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

MIN_SEEDS = 3


class Run(NamedTuple):
    """One training of one configuration."""

    trial: int
    seed: int


Evidence = Mapping[tuple[int, int], float]
"""Metric at the end of each run, by trial number and seed. Higher is better; not finite for a run that diverged or
failed permanently. Runs outside the plan are ignored."""


class Conclusion(StrEnum):
    """Conclusion of a comparison about the gain."""

    BETTER = "better"
    NOT_SHOWN = "not shown"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonPlan:
    """Configurations to compare, the seeds, and the maximum number of runs.

    Raises:
        ValueError: A trial or a seed occurs twice, there is no candidate, or a limit is out of range.
    """

    baseline: int
    candidates: tuple[int, ...]
    """Trial numbers, the best of the search first."""
    seeds: tuple[int, ...]
    """Seeds in order of use. They must not include the search's own seed, by which the candidates were chosen."""
    max_runs: int
    """Maximum number of runs in total."""
    min_seeds: int = MIN_SEEDS
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.candidates:
            raise ValueError(
                "A comparison needs at least one candidate, but got none; add a trial other than the baseline."
            )
        if len(set(self.trials)) < len(self.trials):
            raise ValueError(f"Trials must be unique, but got {self.trials}; list each once.")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"Seeds must be unique, but got {self.seeds}; list each once.")
        if self.min_seeds < 2:
            raise ValueError(
                f"min_seeds must be at least 2 to estimate a spread, but got {self.min_seeds}; use 2 or more."
            )
        if not 0.001 <= self.alpha <= 0.5:
            raise ValueError(f"alpha must be from 0.001 to 0.5, but got {self.alpha}; use 0.05 for 95 % intervals.")

    @property
    def trials(self) -> tuple[int, ...]:
        """Baseline, then the candidates."""
        return (self.baseline, *self.candidates)

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs that the plan allows, whether needed or not."""
        return tuple(Run(trial, seed) for trial in self.trials for seed in self.seeds)

    @property
    def first_runs(self) -> int:
        """Number of runs before the first look."""
        return self.min_seeds * len(self.trials)

    @property
    def max_seeds(self) -> int:
        """Number of seeds that leader and baseline can reach; 0 if the runs are too few for the first look."""
        if self.max_runs < self.first_runs or len(self.seeds) < self.min_seeds:
            return 0
        return min(len(self.seeds), self.min_seeds + (self.max_runs - self.first_runs) // 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigurationResult:
    """Summary of the runs of one configuration."""

    trial: int
    mean: float | None
    """Mean metric over the seeds on which it did not fail; None if there are none."""
    seeds: int
    """Number of runs that did not fail."""
    failures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Result of a comparison; gain and interval have the unit of the metric."""

    conclusion: Conclusion
    decided: bool
    """True if no further run is needed; otherwise the result is preliminary."""
    winner: int
    """Trial for the final run: the leader if its lead is above zero, otherwise the baseline."""
    leader: int | None
    """Candidate that gain, interval and p-value refer to; None before the first look."""
    gain: float | None
    """Mean difference between leader and baseline. It is biased upwards, most if the interval is wide: the leader is
    the best of several candidates, and its lead ended the comparison."""
    interval: tuple[float, float] | None
    """Interval that contains the true gain with probability 1 - alpha, including selection and looks."""
    p_value: float | None
    """One-sided probability of an equally convincing lead, or of an earlier claim, if no candidate were better."""
    seeds: int
    """Number of seeds, that is pairs of runs, behind gain and interval."""
    runs: int
    """Number of runs of the plan that have ended."""
    results: tuple[ConfigurationResult, ...]
    """Results of the baseline, then of the candidates in their order."""
    statement: str


def plan(
    ranking: Sequence[int], *, baseline: int, search_seed: int, max_runs: int, candidates: int = 3, max_seeds: int = 12
) -> ComparisonPlan:
    """Plan a comparison within `max_runs` runs: drop candidates rather than go below three seeds.

    Args:
        ranking: Trial numbers, the best first; can include the baseline.
        baseline: Trial number of the baseline.
        search_seed: Seed that the search trained with.
        max_runs: Maximum number of runs in total.
        candidates: Maximum number of candidates.
        max_seeds: Maximum number of seeds.

    Raises:
        ValueError: The ranking contains only the baseline.
    """
    room = places(max_runs, candidates)
    chosen = tuple(dict.fromkeys(trial for trial in ranking if trial != baseline))[:room]
    seeds = tuple(range(search_seed + 1, search_seed + 1 + max_seeds))
    return ComparisonPlan(baseline=baseline, candidates=chosen, seeds=seeds, max_runs=max_runs)


def places(max_runs: int, candidates: int = 3) -> int:
    """Return the number of candidates that `max_runs` runs allow on the minimum number of seeds."""
    return max(1, min(candidates, max_runs // MIN_SEEDS - 1))
