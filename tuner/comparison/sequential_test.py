"""Compute critical values, intervals and p-values of the group sequential test of a comparison, by simulation.

The test statistic is the lead divided by its standard error. Three seeds say little about a spread, so the spread of
the differences is pooled over the candidates. It is never below the leader's own, in case the leader is the noisiest.

The critical values come from a simulation of the whole procedure, including selection and all looks, without any gain;
textbook boundaries assume many more than three seeds. The part of alpha that can be spent after n of N seeds grows as
(n / N)² (Kim and DeMets, Biometrika 1987). There are two boundaries:

- Even noise: normal, in the worst of three cases: all configurations are equally noisy, the baseline is three times as
  noisy as the rest, or one candidate is. This covers heavy tails too, and runs that a seed ruins, if they are as common
  with the baseline: the difference of two equal noises is symmetric, and Student's t errs less often under symmetric
  heavy tails (Efron, JASA 1969).
- Uneven noise: if the candidates vary more between seeds than the baseline, the differences have the shape of their
  noise. A metric has a ceiling, so this shape is usually many good runs and a few bad ones. Then a few seeds often show
  a lead without the bad runs, and Student's t errs two to three times as often as it should (Johnson, JASA 1978). The
  critical values therefore hold for a baseline without noise and candidates whose shortfall is exponential; one
  candidate can be three times as noisy as the rest. They apply if the candidates' metrics vary significantly more than
  the baseline's (F-test of the variances, 5 %). They are always the larger ones, so this choice cannot make a false
  claim more likely. An effect of the seed on all configurations makes uneven noise harder to find.

No critical value holds for every noise (Bahadur and Savage, Annals of Mathematical Statistics 1956): a bad run that is
rare enough occurs in no sample.

Four fifths of alpha are spent on the claim "better", and so on the lower end of the interval. One fifth is left for the
upper end, which misleads nobody. The lower end is above zero exactly when the claim is made.

The random numbers are always the same, so the same arguments give bit-identical results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import fdtri, stdtrit

from tuner.unit_cube import Floats

_DRAWS = 50_000
"""Number of simulated comparisons, which keeps the level to within 0.1 percentage points."""
_NOISE = ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.0, 3.0, 1.0))
"""Cases of even noise: standard deviations of the baseline, one candidate and the others."""
_UNEVEN_NOISE = ((0.0, 1.0, 1.0), (0.0, 3.0, 1.0))
"""Cases of uneven noise, likewise."""
_UNEVEN_LEVEL = 0.05
"""Level of the F-test that finds the noise uneven."""
_LOWER_SHARE = 0.8
_SPENDING_POWER = 2.0
_HOPE = 1.0
"""Standard errors: the leader is given up if a lead greater by this much would not be enough at the last look."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sample:
    """Metrics that one look rests on, in order of the seeds."""

    baseline: Floats
    """Metrics of the baseline on all seeds so far, shape (seeds,)."""
    leader: Floats
    """Metrics of the leader on the same seeds, shape (seeds,)."""
    others: Floats
    """Metrics of the other candidates on the first seeds, shape (candidates, first seeds)."""
    resolution: float
    """Lower bound on standard errors and deviations, above 0."""

    @property
    def lead(self) -> Floats:
        """Differences of the leader to the baseline, shape (seeds,)."""
        return self.leader - self.baseline

    @property
    def error(self) -> float:
        """Standard error of the mean lead."""
        others = self.others - self.baseline[: self.others.shape[-1]]
        return max(float(standard_error(others, self.lead)), self.resolution)

    @property
    def is_uneven(self) -> bool:
        """True if the candidates vary significantly more between seeds than the baseline.

        Noise grows with a metric, so it is compared relative to the means, unless one of them is not above 0.
        """
        baseline, *candidates = (self.baseline, self.leader, *self.others)
        means = [float(metrics.mean()) for metrics in (baseline, *candidates)]
        scale, *scales = means if min(means) > 0 else [1.0] * len(means)
        freedom = sum(len(metrics) - 1 for metrics in candidates)
        squares = sum(float(m.var()) * len(m) / unit**2 for m, unit in zip(candidates, scales, strict=True))
        own = max(float(baseline.var(ddof=1)), self.resolution**2) / scale**2
        return bool(squares / freedom > own * fdtri(freedom, len(baseline) - 1, 1 - _UNEVEN_LEVEL))


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
    required_last: float
    """Critical lead at the last look if the noise is even: what looks uneven on a few seeds can still turn out so."""

    def look(self, sample: Sample) -> Look:
        """Take one look."""
        seeds = len(sample.lead)
        number = seeds - self.min_seeds
        gain = float(sample.lead.mean())
        error = sample.error
        ratio = gain / error
        critical = self.critical[number]
        enough = self.required_last * np.sqrt(seeds / self.max_seeds)
        return Look(
            gain=gain,
            interval=(gain - critical * error, gain + self._upper(seeds, len(sample.others)) * error),
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
def stopping_boundary(
    candidates: int, min_seeds: int, max_seeds: int, alpha: float, *, uneven: bool = False
) -> StoppingBoundary:
    """Simulate comparisons without a gain, and spend alpha on those with the largest leads."""
    shape = (_DRAWS, candidates + 1, max_seeds)
    rng = np.random.default_rng(20030315)
    noise = 1 - rng.standard_exponential(shape) if uneven else rng.standard_normal(shape)
    cases = _UNEVEN_NOISE if uneven else _NOISE
    looks = range(min_seeds, max_seeds + 1)
    ratios = [standardised_leads(noise, case, looks) for case in (cases if candidates > 1 else cases[:1])]
    going = [np.ones(_DRAWS, bool) for _ in ratios]
    critical, spent, leads = [], [], []
    for look, seeds in enumerate(looks):
        budget = _LOWER_SHARE * alpha * (seeds / max_seeds) ** _SPENDING_POWER
        spent.append(tuple(1 - float(on.mean()) for on in going))
        leads.append(tuple(np.sort(by_look[look][on]) for by_look, on in zip(ratios, going, strict=True)))
        critical.append(max(_passed_by(*case, budget) for case in zip(spent[-1], leads[-1], strict=True)))
        going = [on & (by_look[look] <= critical[-1]) for by_look, on in zip(ratios, going, strict=True)]
    even = stopping_boundary(candidates, min_seeds, max_seeds, alpha).critical if uneven else critical
    return StoppingBoundary(
        min_seeds=min_seeds,
        max_seeds=max_seeds,
        alpha=alpha,
        critical=tuple(critical),
        spent=tuple(spent),
        leads=tuple(leads),
        required_last=even[-1],
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
        noise: Noise of variance 1, shape (comparisons, baseline and candidates, seeds).
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
