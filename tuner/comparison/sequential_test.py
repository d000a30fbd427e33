"""Compute critical values, intervals and p-values of the group sequential test of a comparison, by simulation.

The test statistic is the lead divided by its standard error. Three seeds say little about a spread, so the spread of
the differences is pooled over the candidates. It is never below the leader's own, in case the leader is the noisiest.

The critical values come from a simulation of the whole procedure, including selection and all looks, with normal noise
and without any gain; textbook boundaries assume many more than three seeds. They hold in the worst of three cases: all
configurations are equally noisy, the baseline is three times as noisy as the rest, or one candidate is. The part of
alpha that can be spent after n of N seeds grows as (n / N)² (Kim and DeMets, Biometrika 1987).

Four fifths of alpha are spent on the claim "better", and so on the lower end of the interval. One fifth is left for the
upper end, which misleads nobody. The lower end is above zero exactly when the claim is made.

The random numbers are always the same, so the same arguments give bit-identical results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import stdtrit

from tuner.unit_cube import Floats

_DRAWS = 50_000
"""Number of simulated comparisons, which keeps the level to within 0.1 percentage points."""
_NOISE = ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.0, 3.0, 1.0))
"""Noise cases that the critical values hold for: standard deviations of the baseline, one candidate and the others."""
_LOWER_SHARE = 0.8
_SPENDING_POWER = 2.0
_HOPE = 1.0
"""Standard errors: the leader is given up if a lead greater by this much would not be enough at the last look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Comparison of leader and baseline at one look."""

    gain: float
    interval: tuple[float, float]
    p_value: float
    better: bool
    hopeless: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppingBoundary:
    """Lead that each look requires, and leads that occur without a gain."""

    min_seeds: int
    max_seeds: int
    alpha: float
    critical: tuple[float, ...]
    """Critical lead by look, in standard errors."""
    spent: tuple[tuple[float, ...], ...]
    """Share of the simulated comparisons that passed at an earlier look, by look and noise case."""
    leads: tuple[tuple[Floats, ...], ...]
    """Leads of the comparisons that had not passed earlier, by look and noise case, ascending."""

    def look(self, others: Floats, lead: Floats, smallest_error: float) -> Look:
        """Take one look.

        Args:
            others: Differences of the other candidates on the first seeds, shape (candidates, seeds).
            lead: Differences of the leader on all seeds so far, shape (seeds,).
            smallest_error: Lower bound on the standard error.
        """
        seeds = len(lead)
        number = seeds - self.min_seeds
        gain = float(lead.mean())
        error = max(float(standard_error(others, lead)), smallest_error, np.finfo(float).tiny)
        ratio = gain / error
        critical = self.critical[number]
        enough = self.critical[-1] * np.sqrt(seeds / self.max_seeds)
        return Look(
            gain=gain,
            interval=(gain - critical * error, gain + self._upper(seeds, len(others)) * error),
            p_value=self._p_value(number, ratio),
            better=ratio > critical,
            hopeless=ratio <= max(0.0, enough - _HOPE),
        )

    def _upper(self, seeds: int, others: int) -> float:
        """Return Student's t for the upper end. Selection and looks need no correction there: they favour the leader.

        The candidates share the baseline, so their differences have a correlation of about a half. Each of the other
        candidates therefore adds less than its own degrees of freedom (Satterthwaite).
        """
        share = (1 + others) / (1 + others / 4) - 1
        freedom = seeds - 1 + (self.min_seeds - 1) * share
        return float(stdtrit(freedom, 1 - (1 - _LOWER_SHARE) * self.alpha))

    def _p_value(self, number: int, ratio: float) -> float:
        """Return the p-value in the worst noise case, with results ordered by stage.

        Source: Jennison and Turnbull 2000, section 8.4.
        """
        cases = zip(self.spent[number], self.leads[number], strict=True)
        return max(spent + (len(leads) - int(np.searchsorted(leads, ratio))) / _DRAWS for spent, leads in cases)


@lru_cache(maxsize=8)
def stopping_boundary(candidates: int, min_seeds: int, max_seeds: int, alpha: float) -> StoppingBoundary:
    """Simulate comparisons without a gain, and spend alpha on those with the largest leads."""
    shape = (_DRAWS, candidates + 1, max_seeds)
    noise = np.random.default_rng(20030315).standard_normal(shape)
    looks = range(min_seeds, max_seeds + 1)
    ratios = [standardised_leads(noise, case, looks) for case in (_NOISE if candidates > 1 else _NOISE[:1])]
    going = [np.ones(_DRAWS, bool) for _ in ratios]
    critical, spent, leads = [], [], []
    for look, seeds in enumerate(looks):
        budget = _LOWER_SHARE * alpha * (seeds / max_seeds) ** _SPENDING_POWER
        spent.append(tuple(1 - float(on.mean()) for on in going))
        leads.append(tuple(np.sort(by_look[look][on]) for by_look, on in zip(ratios, going, strict=True)))
        critical.append(max(_passed_by(*case, budget) for case in zip(spent[-1], leads[-1], strict=True)))
        going = [on & (by_look[look] <= critical[-1]) for by_look, on in zip(ratios, going, strict=True)]
    return StoppingBoundary(
        min_seeds=min_seeds,
        max_seeds=max_seeds,
        alpha=alpha,
        critical=tuple(critical),
        spent=tuple(spent),
        leads=tuple(leads),
    )


def standard_error(others: Floats, lead: Floats) -> Floats:
    """Estimate the standard error of the leader's mean difference.

    Args:
        others: Differences of the other candidates on the first seeds, shape (..., candidates, seeds).
        lead: Differences of the leader on all seeds so far, shape (..., seeds).
    """
    seeds = lead.shape[-1]
    own = lead.var(axis=-1, ddof=1)
    squares = (seeds - 1) * own + others.var(axis=-1).sum(axis=-1) * others.shape[-1]
    pooled = squares / (seeds - 1 + others.shape[-2] * (others.shape[-1] - 1))
    error: Floats = np.sqrt(np.maximum(own, pooled) / seeds)
    return error


def standardised_leads(noise: Floats, case: tuple[float, float, float], looks: Sequence[int]) -> list[Floats]:
    """Return the lead of each simulated comparison in standard errors, by look.

    Args:
        noise: Standard normal noise, shape (comparisons, baseline and candidates, seeds).
        case: Standard deviations of the baseline, one candidate and the others.
        looks: Number of seeds at each look.
    """
    baseline, one, rest = case
    comparisons, candidates = len(noise), noise.shape[1] - 1
    spread = np.array([one, *[rest] * (candidates - 1)])
    differences = noise[:, 1:] * spread[:, None] - noise[:, :1] * baseline
    field = differences[:, :, : looks[0]]
    best = field.mean(axis=2).argmax(axis=1)
    rows = np.arange(comparisons)
    lead = differences[rows, best]
    others = field[rows[:, None], (best[:, None] + np.arange(1, candidates)) % candidates]
    return [lead[:, :n].mean(axis=1) / standard_error(others, lead[:, :n]) for n in looks]


def _passed_by(spent: float, leads: Floats, budget: float) -> float:
    """Return the critical lead: as many comparisons exceed it as the remaining budget of alpha allows."""
    allowed = int((budget - spent) * _DRAWS + 1e-6)
    return float(leads[-1 - allowed])
