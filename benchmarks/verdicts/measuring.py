"""Contestants in many worlds, and the resulting rates."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from benchmarks.verdicts.contestants import CONTESTANTS, Claim, ours
from benchmarks.verdicts.noises import NOISES, world_of
from benchmarks.verdicts.tables import Table
from benchmarks.verdicts.worlds import Maker, World

NULL_DRAWN = "no gain, drawn"
NULL_RECORDED = "no gain, recorded"
GOOD_DRAWN = "good default, drawn"
GOOD_RECORDED = "good default, recorded"
CENTRAL_DRAWN = "central default, drawn"
SCENARIOS = (NULL_DRAWN, NULL_RECORDED, GOOD_DRAWN, GOOD_RECORDED, CENTRAL_DRAWN)

_FRESH_SEEDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One contestant in one world. Gains are over the default, in standard deviations of the table's noise."""

    table: str
    scenario: str
    contestant: str
    better: bool
    claimed: float
    true: float
    """True gain of the choice for the final run."""
    possible: float
    """Largest true gain among the configurations, at least 0."""
    runs: int
    compared: float | None
    """True gain of the configuration that the interval refers to."""
    covered: bool | None
    """True if the interval contains it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Rate of an event, with its 95 % interval (Clopper and Pearson)."""

    times: int
    of: int

    @property
    def value(self) -> float:
        return self.times / self.of

    @property
    def interval(self) -> tuple[float, float]:
        low = beta.ppf(0.025, self.times, self.of - self.times + 1) if self.times else 0.0
        high = beta.ppf(0.975, self.times + 1, self.of - self.times) if self.times < self.of else 1.0
        return float(low), float(high)


def observe(table: Table, repeats: int, seed: int) -> list[Observation]:
    """Run every contestant in the same worlds: `repeats` of each scenario for which the table has enough seeds."""
    maker = Maker(table)
    observations = []
    for scenario, make in _makers(maker).items():
        stream = zlib.crc32(f"{table.name}, {scenario}".encode())
        for repeat in range(repeats):
            world = make(np.random.default_rng([seed, repeat, stream]))
            for name, play in CONTESTANTS.items():
                observations.append(_observation(table.name, scenario, name, world, play(world)))
    return observations


def false_claims(name: str, runs: int, worlds: int, seed: int) -> Rate:
    """Compute how often our verdict, with so many runs, claims "better" under one of the `NOISES`."""
    stream = zlib.crc32(name.encode())
    made = (world_of(NOISES[name], np.random.default_rng([seed, repeat, stream])) for repeat in range(worlds))
    return Rate(times=sum(ours(world, runs).better for world in made), of=worlds)


def _makers(maker: Maker) -> Mapping[str, Callable[[np.random.Generator], World]]:
    central, good = maker.table.centre, maker.good
    makers: dict[str, Callable[[np.random.Generator], World]] = {
        NULL_DRAWN: maker.drawn_null,
        GOOD_DRAWN: lambda rng: maker.drawn(good, rng),
        CENTRAL_DRAWN: lambda rng: maker.drawn(central, rng),
    }
    if maker.table.metrics.shape[1] > _FRESH_SEEDS:
        makers[NULL_RECORDED] = maker.recorded_null
        makers[GOOD_RECORDED] = lambda rng: maker.recorded(good, rng)
    return makers


def _observation(table: str, scenario: str, contestant: str, world: World, claim: Claim) -> Observation:
    gains = world.truth - world.truth[0]
    about = None if claim.leader is None else float(gains[claim.leader])
    covered = None
    if about is not None and claim.interval is not None:
        covered = claim.interval[0] <= about <= claim.interval[1]
    return Observation(
        table=table,
        scenario=scenario,
        contestant=contestant,
        better=claim.better,
        claimed=claim.gain / world.noise,
        true=float(gains[claim.winner]) / world.noise,
        possible=float(gains.max()) / world.noise,
        runs=claim.runs,
        compared=None if about is None else about / world.noise,
        covered=covered,
    )


def claims(observations: Iterable[Observation], *, true: bool) -> Rate:
    """Compute how often "better" was claimed correctly (`true`) or incorrectly."""
    said = [o.better and (o.true > 0) == true for o in observations]
    return Rate(times=sum(said), of=len(said))


def optimism(observations: Iterable[Observation]) -> float:
    """Return claimed gain minus true gain, mean over the claims of "better"; NaN without any."""
    excess = [o.claimed - o.true for o in observations if o.better]
    return float(np.mean(excess)) if excess else float("nan")


def share_promoted(observations: Sequence[Observation]) -> float:
    """Return the true gain of the final choice as a share of the possible gain, mean over the tables."""
    shares = []
    for table in sorted({o.table for o in observations}):
        here = [o for o in observations if o.table == table]
        possible = sum(o.possible for o in here)
        if possible:
            shares.append(sum(o.true for o in here) / possible)
    return float(np.mean(shares))


def coverage(observations: Iterable[Observation]) -> Rate:
    """Compute how often the interval contains the true gain."""
    known = [o.covered for o in observations if o.covered is not None]
    return Rate(times=sum(known), of=len(known))
