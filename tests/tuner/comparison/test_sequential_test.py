"""The sequential test itself: standard errors and critical values, by hand and by new simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from tuner.comparison.sequential_test import Sample, standard_error, standardised_leads, stopping_boundary

CRITICAL = {
    (1, 3): (3.289495179440285,),
    (3, 7): (5.4215350598688525, 4.4006658647150765, 3.5442889564733346, 2.9756567358011026, 2.610988505541968),
}
"""Critical values of the verdicts in docs/verdicts.md, by candidates and seeds."""
CRITICAL_UNEVEN = {
    (1, 3): (9.088265517303439,),
    (3, 7): (9.606357806297789, 8.258962393587774, 6.9783559700636, 5.785244101906552, 4.929308542692371),
}
"""Critical values for uneven noise."""
SHAPES = [(1, 5), (3, 3), (3, 7)]
"""Candidates and seeds."""


def sample(baseline: list[float], leader: list[float], *others: list[float]) -> Sample:
    return Sample(
        baseline=np.array(baseline),
        leader=np.array(leader),
        others=np.array(others).reshape(len(others), 3),
        resolution=1e-9,
    )


def test_standard_error_pools_the_candidates_but_is_no_less_than_the_leaders_own():
    quiet, noisy = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 7.0])  # variances 1 and 9
    assert standard_error(noisy[None], quiet) == pytest.approx(math.sqrt(5 / 3))
    assert standard_error(quiet[None], noisy) == pytest.approx(math.sqrt(9 / 3))
    longer = np.array([0.0, 2.0, 0.0, 2.0])  # squares 4 on 3 degrees of freedom, and 18 on 2 of the other
    assert standard_error(noisy[None], longer) == pytest.approx(math.sqrt(22 / 5 / 4))


def test_one_candidate_and_one_look_take_the_t_quantile_at_four_fifths_of_alpha():
    assert stopping_boundary(1, 3, 3, 0.05).critical[0] == pytest.approx(stats.t.isf(0.04, 2), rel=0.02)


@pytest.mark.parametrize(("candidates", "max_seeds"), CRITICAL)
@pytest.mark.parametrize(("uneven", "expected"), [(False, CRITICAL), (True, CRITICAL_UNEVEN)])
def test_critical_values_never_change(candidates, max_seeds, uneven, expected):
    critical = stopping_boundary(candidates, 3, max_seeds, 0.05, uneven=uneven).critical
    assert critical == pytest.approx(expected[candidates, max_seeds], rel=1e-12)


@pytest.mark.parametrize(("baseline", "factor"), [([0.50, 0.51, 0.52], 4.35), ([0.51, 0.51, 0.51], 0.0)])
def test_noise_is_uneven_if_the_variance_of_one_candidate_is_19_times_that_of_the_baseline(baseline, factor):
    spread = np.array([-0.01, 0.0, 0.01])  # F(2, 2) is above 19 in 5 % of cases: a ratio of deviations of 4.36
    assert not sample(baseline, list(0.51 + factor * spread)).is_uneven
    assert sample(baseline, list(0.51 + (factor + 0.02) * spread)).is_uneven


def test_noise_that_grows_with_the_metric_is_even():
    baseline, fivefold = np.array([0.50, 0.51, 0.52]), np.array([0.46, 0.51, 0.56])
    assert sample(list(baseline), list(fivefold)).is_uneven
    assert not sample(list(baseline), list(fivefold + 0.1)).is_uneven
    assert not sample(list(0.1 * baseline), list(baseline)).is_uneven
    assert sample(list(baseline - 1), list(fivefold + 0.1)).is_uneven  # there is no relative noise below 0


def test_the_variance_of_the_candidates_is_pooled_and_more_seeds_show_smaller_differences():
    baseline, wide = [0.50, 0.51, 0.52], [0.46, 0.51, 0.56]
    assert sample(baseline, wide).is_uneven  # a ratio of deviations of 5; pooled over three it is 3
    assert not sample(baseline, wide, baseline, baseline).is_uneven
    threefold = [0.48, 0.51, 0.54]
    assert not sample(baseline, threefold).is_uneven
    assert sample(baseline * 2, threefold * 2).is_uneven


def test_rounding_differences_are_not_noise():
    assert not sample([0.3, 0.3, 0.3], [0.4, 0.4 + 1e-12, 0.4]).is_uneven


@pytest.mark.parametrize(("candidates", "max_seeds"), [*SHAPES, (3, 12), (1, 10)])
def test_uneven_noise_never_requires_a_smaller_lead(candidates, max_seeds):
    even, uneven = (stopping_boundary(candidates, 3, max_seeds, 0.05, uneven=x) for x in (False, True))
    assert all(more > less for more, less in zip(uneven.critical, even.critical, strict=True))


@pytest.mark.parametrize(("candidates", "max_seeds"), SHAPES)
@pytest.mark.parametrize("noise", [(0, 1, 1), (0, 3, 1)])
def test_the_boundary_of_uneven_noise_holds_four_percent_for_exponential_shortfalls(candidates, max_seeds, noise):
    boundary = stopping_boundary(candidates, 3, max_seeds, 0.05, uneven=True)
    draws = 40_000
    fresh = 1 - np.random.default_rng(11).standard_exponential((draws, candidates + 1, max_seeds))
    ratios = standardised_leads(fresh, noise, range(3, max_seeds + 1))
    passed = np.any([ratio > c for ratio, c in zip(ratios, boundary.critical, strict=True)], axis=0)
    assert passed.mean() <= 0.04 + 3 * math.sqrt(0.04 * 0.96 / draws)


@pytest.mark.parametrize(("candidates", "max_seeds"), SHAPES)
@pytest.mark.parametrize("noise", [(1, 1, 1), (3, 1, 1), (1, 3, 1)])
def test_the_boundary_is_crossed_in_at_most_four_percent_of_new_comparisons(candidates, max_seeds, noise):
    boundary = stopping_boundary(candidates, 3, max_seeds, 0.05)
    draws = 40_000
    fresh = np.random.default_rng(11).standard_normal((draws, candidates + 1, max_seeds))
    ratios = standardised_leads(fresh, noise, range(3, max_seeds + 1))
    passed = np.any([ratio > c for ratio, c in zip(ratios, boundary.critical, strict=True)], axis=0)
    assert passed.mean() <= 0.04 + 3 * math.sqrt(0.04 * 0.96 / draws)
