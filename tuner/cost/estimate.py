"""What a search will cost, before it begins: the same decisions, simulated on made-up learning curves.

How many trials reach which epoch hangs little on the curves and much on the strategy, the rungs and the number of
slots, so curves that are roughly like those of detectors will do. What is assumed of them: a configuration's quality
falls off around an optimum somewhere in the space, a few parameters matter most; early figures are related to the last
ones as weakly as in the recorded curves (`_KNOWN_EARLY`); one configuration in twenty diverges in its first epochs;
all epochs take the same time.
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
"""Simulated; more are what so many come to, in proportion."""
_KNOWN_EARLY = 0.2
"""The correlation of a figure with the last one is the share of the run that is over, to this power."""
_DIVERGING = 0.05
_SPREAD = 0.3
"""Of what no parameter explains, in standard deviations of what they do."""


@dataclass(frozen=True, slots=True)
class Range:
    """From the 10th to the 90th percentile."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Range":
        low, high = np.percentile(values, (10, 90))
        return cls(float(low), float(high))

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.high * factor)

    def shown(self, form: str = ",.0f") -> str:
        """Both ends, or one where they read the same."""
        low, high = f"{self.low:{form}}", f"{self.high:{form}}"
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """How one simulated search went: what it had trained by when; times are those of an epoch."""

    ends: tuple[float, ...]
    """When each epoch was over."""
    scale: float
    """Epochs of the real search for each of these."""

    @property
    def trained(self) -> float:
        """Epochs of the real search, all in all."""
        return len(self.ends) * self.scale

    def at(self, trained: float) -> float:
        """When so many epochs of the real search had been trained; the end where there were fewer."""
        return float(np.interp(trained / self.scale, np.arange(len(self.ends) + 1), (0.0, *self.ends)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotation:
    """What is to be expected of a search; times are those of an epoch."""

    arrivals: Mapping[int, Range]
    """Trials that reach each rung and the last epoch."""
    trained: Range
    """Epochs of all trials together."""
    wall: Range
    """From the first to the last of them."""
    idle_share: Range
    """Of the slots' time, 0..1."""
    comparison_runs: Range
    """Runs of the best and the default configuration on other seeds: at the first look, and at most."""
    courses: tuple[Course, ...]
    """The simulated searches themselves, for the time that is left in mid-search."""


def quote(space: Space, *, slots: int, seed: int = 0) -> Quotation:
    """What a search of this space comes to, with so many slots. The same arguments give the same figures."""
    settings = space.settings
    trials = min(settings.trials, _MOST_TRIALS)
    more = settings.trials / trials
    workers = max(1, round(slots / more))
    searches = [_searched(space, trials, workers, seed + number) for number in range(_SEARCHES)]
    trained = Range.of([search.busy_s * more for search in searches])
    return Quotation(
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
    """Curves over a cube; the default configuration is better than three in four, as defaults are."""
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
    """Standard normal, roughly, over random points."""
    optimum, weight = rng.random(features.shape[1]), rng.exponential(size=features.shape[1]) ** 2
    explained = -((features - optimum) ** 2 @ weight)
    quality: Floats = (explained - explained.mean()) / explained.std() + _SPREAD * rng.standard_normal(len(features))
    return quality


def _comparison_runs(asked: int | None, full_runs: float) -> Range:
    most = most_runs(asked, full_runs)
    return Range(min(most, MIN_SEEDS * (1 + places(most))), most)
