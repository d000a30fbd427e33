"""Plans of comparisons: candidates, seeds, and refused plans."""

import pytest

from tuner.comparison.contest import ComparisonPlan, plan


@pytest.mark.parametrize(
    ("max_runs", "candidates", "seeds"),
    [(5, 1, 0), (6, 1, 3), (8, 1, 4), (9, 2, 3), (12, 3, 3), (20, 3, 7), (31, 3, 12), (99, 3, 12)],
)
def test_a_plan_has_as_many_candidates_as_get_three_seeds(max_runs, candidates, seeds):
    about = plan([7, 0, 4, 9, 2], baseline=0, search_seed=5, max_runs=max_runs)
    assert about.candidates == (7, 4, 9)[:candidates]
    assert about.max_seeds == seeds
    assert 5 not in about.seeds


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"candidates": ()}, "needs at least one candidate"),
        ({"candidates": (1, 0)}, "Trials must be unique"),
        ({"seeds": (1, 1, 2)}, "Seeds must be unique"),
        ({"min_seeds": 1}, "min_seeds must be at least 2"),
        ({"alpha": 0.0}, "alpha must be"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changed, message):
    given_ones = {"baseline": 0, "candidates": (1,), "seeds": (1, 2, 3), "max_runs": 6}
    with pytest.raises(ValueError, match=message):
        ComparisonPlan(**(given_ones | changed))
