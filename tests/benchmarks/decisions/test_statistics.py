"""Means, paired differences, bootstrap: values worked out by hand."""

import pytest

from benchmarks.decisions.results import Key, Run, Setting
from benchmarks.decisions.statistics import Difference, bootstrap, budget_to_match, differences, mean_over, regret_at
from tests.benchmarks.decisions.conftest import run_with


def run(method: str, task: str, seed: int, *regret: float) -> Run:
    """Make a run with recorded regrets after 50 and after 100 % of the budget."""
    key = Key("family", task, method, seed, Setting(4, 20.0, "first", "seconds"))
    return run_with(key, dict(zip((50, 100), regret, strict=True)))


def test_a_task_with_more_seeds_has_no_more_weight():
    runs = [run("a", "one", 0, 1.0, 0.2), run("a", "one", 1, 1.0, 0.4), run("a", "two", 0, 1.0, 0.9)]
    assert mean_over(runs, regret_at(100)) == pytest.approx((0.3 + 0.9) / 2)


def test_differences_pair_tasks_and_seeds_that_both_have():
    runs = [
        run("a", "one", 0, 1.0, 0.2),
        run("a", "one", 1, 1.0, 0.4),
        run("a", "two", 0, 1.0, 0.5),
        run("b", "one", 0, 1.0, 0.1),
        run("b", "two", 0, 1.0, 0.7),
        run("b", "three", 0, 1.0, 0.0),
        run("c", "one", 1, 1.0, 0.0),
    ]
    assert differences(runs, "a", "b", 100) == {"one": [pytest.approx(0.1)], "two": [pytest.approx(-0.2)]}


def test_without_spread_the_interval_is_the_mean():
    found = bootstrap({"one": [0.5, 0.5], "two": [0.5]})
    assert found == Difference(0.5, 0.5, 0.5)


def test_the_interval_covers_the_tasks_and_not_only_the_seeds():
    found = bootstrap({"one": [0.0, 0.0, 0.0], "two": [1.0, 1.0, 1.0]})
    assert found == Difference(0.5, 0.0, 1.0)  # a quarter of the resamples have only one task


def test_the_interval_narrows_with_more_seeds():
    few = bootstrap({"one": [0.0, 1.0]})
    many = bootstrap({"one": [0.0, 1.0] * 50})
    assert (few.low, few.high) == (0.0, 1.0)
    assert 0.35 < many.low < 0.45 < 0.55 < many.high < 0.65


def test_a_bootstrap_is_the_same_every_time():
    pairs = {"one": [0.1, 0.4, -0.2], "two": [0.3, 0.0, 0.2]}
    assert bootstrap(pairs) == bootstrap(pairs)


@pytest.mark.parametrize(
    ("regrets", "expected"),
    [((0.3, 0.2), 50), ((0.5, 0.3), 100), ((0.2, 0.4), None), ((0.5, 0.4), None)],
    ids=["early", "at the end", "not for good", "never"],
)
def test_the_budget_that_reaches_the_final_regret_of_the_reference(regrets, expected):
    runs = [run("a", "one", 0, *regrets), run("b", "one", 0, 0.6, 0.3)]
    assert budget_to_match(runs, "a", "b") == expected


def test_without_common_runs_nothing_is_matched():
    assert budget_to_match([run("a", "one", 0, 0.1, 0.1), run("b", "one", 1, 0.1, 0.1)], "a", "b") is None


def test_no_runs_have_no_mean():
    with pytest.raises(ValueError, match="at least one"):
        mean_over([], regret_at(100))
    with pytest.raises(ValueError, match="at least one"):
        bootstrap({})
