"""Estimate the cost of a search before it starts: simulate its decisions on synthetic learning curves.

The number of trials that reach each epoch depends little on the curves, and much on the strategy, the rungs and the
number of slots. So curves that roughly resemble those of detectors are enough. They assume:

- The quality of a configuration falls off around an optimum somewhere in the space, and a few parameters matter most.
- Early values correlate with the last one as weakly as in the recorded curves (`_KNOWN_EARLY`).
- One configuration in twenty diverges in its first epochs.
- All epochs take the same time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuner.comparison.contest import MIN_SEEDS, places
from tuner.comparison.reevaluation import most_runs
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Limits
from tuner.simulation.replay import Outcome, Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import CurveTable
from tuner.space import Space, UnitCube
from tuner.unit_cube import Cube, Floats

_SEARCHES = 8
_MOST_TRIALS = 64
"""Maximum number of simulated trials; the results of longer searches are scaled in proportion."""
_KNOWN_EARLY = 0.2
"""Exponent: a value's correlation with the last one is the completed share of the run to this power."""
_DIVERGING = 0.05
_SPREAD = 0.3
"""Spread that no parameter explains, in standard deviations of the explained part."""


@dataclass(frozen=True, slots=True)
class Range:
    """Range from the 10th to the 90th percentile."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Range":
        low, high = np.percentile(values, (10, 90))
        return cls(float(low), float(high))

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.high * factor)

    def shown(self, form: str = ",.0f") -> str:
        """Format both ends, or only one if they look the same."""
        low, high = f"{self.low:{form}}", f"{self.high:{form}}"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """Training progress of one simulated search over time; the unit of time is one epoch."""

    ends: tuple[float, ...]
    """Time at the end of each epoch."""
    scale: float
    """Number of real epochs that each simulated epoch stands for."""

    @property
    def trained(self) -> float:
        """Total epochs of the real search."""
        return len(self.ends) * self.scale

    def at(self, trained: float) -> float:
        """Return the time at which this many real epochs had been trained; the end time if there were fewer."""
        return float(np.interp(trained / self.scale, np.arange(len(self.ends) + 1), (0.0, *self.ends)))


@dataclass(frozen=True, kw_only=True, slots=True)
class CostEstimate:
    """Cost estimate of a search; the unit of time is one epoch."""

    arrivals: Mapping[int, Range]
    """Number of trials that reach each rung and the last epoch."""
    trained: Range
    """Total epochs of all trials."""
    wall: Range
    """Wall time from the first to the last epoch."""
    idle_share: Range
    """Idle share of the slots' time, 0..1."""
    comparison_runs: Range
    """Number of re-evaluation runs of the best and the default configurations, at the first look and at most."""
    courses: tuple[Course, ...]
    """Simulated searches, used to estimate the remaining time during the search."""


def estimate_cost(space: Space, *, slots: int, seed: int = 0) -> CostEstimate:
    """Estimate the cost of a search of this space with this many slots; the same arguments give the same result."""
    settings = space.settings
    trials = min(settings.trials, _MOST_TRIALS)
    more = settings.trials / trials
    workers = max(1, round(slots / more))
    searches = [_searched(space, trials, workers, seed + number) for number in range(_SEARCHES)]
    trained = Range.of([search.busy_s * more for search in searches])
    return CostEstimate(
        arrivals={
            epoch: Range.of([sum(reached >= epoch for reached in search.epochs) * more for search in searches])
            for epoch in (*settings.rung_epochs, settings.epochs)
        },
        trained=trained,
        wall=Range.of([search.ended_s * workers * more / slots for search in searches]),
        idle_share=Range.of([1 - search.busy_s / (search.ended_s * workers) for search in searches]),
        comparison_runs=_comparison_runs(settings.reevaluation_runs, trained.high / settings.epochs),
        courses=tuple(
            Course(ends=tuple(end * workers * more / slots for end in search.epoch_ends_s), scale=more)
            for search in searches
        ),
    )


def _searched(space: Space, trials: int, workers: int, seed: int) -> Outcome:
    settings = space.settings
    cube = UnitCube(space).cube
    table = made_up_curves(cube, settings.epochs, 3 * trials, np.random.default_rng(seed))
    pool = Pool(table)
    rungs = Rungs(epochs=settings.rung_epochs, reduction_factor=settings.reduction_factor)
    search = SimulatedSearch(table, pool, settings.strategy, seed=seed, rungs=rungs, limits=Limits(trials=trials))
    return replay(table, search, workers=workers, budget=float(trials * workers), checkpoints=())


def made_up_curves(cube: Cube, epochs: int, configurations: int, rng: np.random.Generator) -> CurveTable:
    """Generate curves over a cube; the default configuration beats three in four, as defaults usually do."""
    points = cube.random(rng, configurations)
    quality = _quality(cube.features(points), rng)
    known = (np.arange(1, epochs + 1) / epochs) ** _KNOWN_EARLY
    early = rng.standard_normal(configurations)
    metric = quality[:, None] * known + early[:, None] * np.sqrt(1 - known**2)
    diverging = np.flatnonzero(rng.random(configurations) < _DIVERGING)
    metric[diverging, rng.integers(0, min(3, epochs), len(diverging))] = np.nan
    return CurveTable(
        name="made up",
        points=points,
        choices=tuple(dimension.choices for dimension in cube.dimensions),
        conditions=tuple(dimension.when for dimension in cube.dimensions),
        baseline=int(np.argsort(quality)[3 * configurations // 4]),
        metric=metric,
        loss=np.ones_like(metric),
        seconds=np.ones_like(metric),
    )


def _quality(features: Floats, rng: np.random.Generator) -> Floats:
    """Return the quality of random points, roughly with a standard normal distribution."""
    optimum, weight = rng.random(features.shape[1]), rng.exponential(size=features.shape[1]) ** 2
    explained = -((features - optimum) ** 2 @ weight)
    quality: Floats = (explained - explained.mean()) / explained.std() + _SPREAD * rng.standard_normal(len(features))
    return quality


def _comparison_runs(asked: int | None, full_runs: float) -> Range:
    most = most_runs(asked, full_runs)
    return Range(min(most, MIN_SEEDS * (1 + places(most))), most)
