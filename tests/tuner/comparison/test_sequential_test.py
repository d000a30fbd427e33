"""The sequential test alone: standard errors and critical values, by hand and by fresh simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from tuner.comparison.sequential_test import standard_error, standardised_leads, stopping_boundary

CRITICAL = {
    (1, 3): (3.289495179440285,),
    (3, 7): (5.4215350598688525, 4.4006658647150765, 3.5442889564733346, 2.9756567358011026, 2.610988505541968),
}
"""By candidates and seeds, as the verdicts of docs/verdicts.md were reached with."""


def test_standard_error_pools_the_candidates_but_is_no_less_than_the_leaders_own():
    quiet, noisy = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 7.0])  # variances 1 and 9
    assert standard_error(noisy[None], quiet) == pytest.approx(math.sqrt(5 / 3))
    assert standard_error(quiet[None], noisy) == pytest.approx(math.sqrt(9 / 3))
    longer = np.array([0.0, 2.0, 0.0, 2.0])  # squares 4 on 3 degrees of freedom, and 18 on 2 of the other
    assert standard_error(noisy[None], longer) == pytest.approx(math.sqrt(22 / 5 / 4))


def test_one_candidate_and_one_look_take_the_t_quantile_at_four_fifths_of_alpha():
    assert stopping_boundary(1, 3, 3, 0.05).critical[0] == pytest.approx(stats.t.isf(0.04, 2), rel=0.02)


@pytest.mark.parametrize(("candidates", "max_seeds"), CRITICAL)
def test_critical_values_never_change(candidates, max_seeds):
    critical = stopping_boundary(candidates, 3, max_seeds, 0.05).critical
    assert critical == pytest.approx(CRITICAL[candidates, max_seeds], rel=1e-12)


@pytest.mark.parametrize(("candidates", "max_seeds"), [(1, 5), (3, 3), (3, 7)])
@pytest.mark.parametrize("noise", [(1, 1, 1), (3, 1, 1), (1, 3, 1)])
def test_the_boundary_is_passed_in_four_percent_of_fresh_comparisons_at_most(candidates, max_seeds, noise):
    boundary = stopping_boundary(candidates, 3, max_seeds, 0.05)
    draws = 40_000
    fresh = np.random.default_rng(11).standard_normal((draws, candidates + 1, max_seeds))
    ratios = standardised_leads(fresh, noise, range(3, max_seeds + 1))
    passed = np.any([ratio > c for ratio, c in zip(ratios, boundary.critical, strict=True)], axis=0)
    assert passed.mean() <= 0.04 + 3 * math.sqrt(0.04 * 0.96 / draws)
