"""End a search before its last trial, and, which matters more, do not end it too early."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs
from tuner.decisions.stopping import DEAD_AFTER, Budget, judged, only_zeros, since_best
from tuner.exceptions import UsageError

RUNGS = Rungs(epochs=(3, 9), reduction_factor=3)
NO_RUNGS = Rungs(epochs=(), reduction_factor=3)
AT_RUNG = {3: 0.0}
AT_SECOND_RUNG = {3: 0.0, 9: 0.0}
FULL = {3: 0.0, 9: 0.0, 27: 0.0}
COMPLETE, PAUSED, STOPPED, LOST = Status.COMPLETE, Status.PAUSED, Status.STOPPED, Status.LOST


def full_runs(history, *values):
    """Make a history of complete trials, without rungs."""
    return history(*({27: value} for value in values), statuses=[COMPLETE] * len(values))


# Only zeros


def test_ten_full_runs_at_zero_and_nothing_else_are_only_zeros(history):
    assert not only_zeros(full_runs(history, *[0.0] * 9), NO_RUNGS)
    assert only_zeros(full_runs(history, *[0.0] * 10), NO_RUNGS)


@pytest.mark.parametrize("status", [PAUSED, STOPPED])
def test_trials_judged_at_a_rung_count_if_no_value_ever_differed(history, status):
    curves = [FULL, *[AT_SECOND_RUNG] * 2, *[AT_RUNG] * 7]
    assert only_zeros(history(*curves, statuses=[COMPLETE, *[status] * 9]), RUNGS)
    assert not only_zeros(history(*curves[:-1], statuses=[COMPLETE, *[status] * 8]), RUNGS)


def test_zeros_at_the_first_rung_are_normal_however_many(history):
    curves = [AT_RUNG] * 40
    assert not only_zeros(history(*curves, statuses=[PAUSED] * 40), RUNGS)
    assert not only_zeros(history(FULL, *curves, statuses=[COMPLETE, *[PAUSED] * 40]), RUNGS)


def test_before_a_full_run_zeros_are_normal_at_any_rung(history):
    assert not only_zeros(history(*[AT_SECOND_RUNG] * 40, statuses=[PAUSED] * 40), RUNGS)


@pytest.mark.parametrize("differing", [{1: 0.001}, {3: 0.0, 5: 1e-9}])
@pytest.mark.parametrize("status", [Status.RUNNING, COMPLETE, PAUSED, STOPPED, LOST, Status.UNKNOWN])
def test_one_other_value_anywhere_means_that_something_can_be_learnt(history, differing, status):
    made = history(*[FULL] * 30, differing | ({27: 0.0} if status == COMPLETE else {}), statuses=[COMPLETE] * 30)
    made.set_status(30, status)
    assert not only_zeros(made, RUNGS)


def test_zeros_after_other_values_prove_nothing_in_a_wide_space(history):
    assert not only_zeros(full_runs(history, 0.4, *[0.0] * 30), NO_RUNGS)


@pytest.mark.parametrize("status", [Status.RUNNING, LOST, Status.UNKNOWN])
def test_running_lost_and_failed_trials_are_not_results(history, status):
    curves = [*[FULL] * 9, *[AT_SECOND_RUNG] * 5]
    assert not only_zeros(history(*curves, statuses=[*[COMPLETE] * 9, *[status] * 5]), RUNGS)


def test_an_empty_history_has_no_zeros(history):
    assert not only_zeros(history(), RUNGS)


@given(
    values=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.1]), min_size=1, max_size=30),
    epochs=st.lists(st.sampled_from([3, 9, 27]), min_size=30, max_size=30),
)
def test_only_zeros_requires_ten_results_and_no_other_value(values, epochs):
    made = History(epochs=27, dimensions=1)
    for value, reached in zip(values, epochs, strict=False):
        trial = made.begin(np.array([0.5]))
        made.report(trial, reached, value)
        made.set_status(trial, COMPLETE if reached == 27 else PAUSED)
    if only_zeros(made, RUNGS):
        assert len(values) >= DEAD_AFTER
        assert set(values) == {0.0}
        assert 27 in epochs[: len(values)]


# Limits of the user


def reached(bounds, *, searched_s, trained_s, since_best):
    return bounds.reached(searched_s=searched_s, trained_s=lambda: trained_s, since_best=lambda: since_best)


def test_a_search_has_no_limits_by_default():
    assert Budget().reached(searched_s=1e9, trained_s=pytest.fail, since_best=pytest.fail) is None


@pytest.mark.parametrize(
    ("bounds", "below", "at", "said"),
    [
        (
            Budget(hours=1.5),
            {"searched_s": 5399.9},
            {"searched_s": 5400.0},
            "the budget of 1.5 hours is spent (--max-hours)",
        ),
        (
            Budget(gpu_hours=8),
            {"trained_s": 28799.9},
            {"trained_s": 28800.0},
            "the budget of 8 GPU-hours is spent (--gpu-hours)",
        ),
        (
            Budget(no_improvement=20),
            {"since_best": 19},
            {"since_best": 20},
            "no improvement in 20 trials (--no-improvement 20)",
        ),
    ],
    ids=["hours", "gpu_hours", "no_improvement"],
)
def test_each_limit_is_reached_at_its_own_number_only(bounds, below, at, said):
    nothing = {"searched_s": 0.0, "trained_s": 0.0, "since_best": 0}
    plenty = {"searched_s": 1e9, "trained_s": 1e9, "since_best": 1000}
    assert reached(bounds, **{**plenty, **below}) is None
    assert reached(bounds, **{**nothing, **at}).startswith(said)


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        ({"hours": 0.0}, "--max-hours"),
        ({"hours": float("nan")}, "--max-hours"),
        ({"hours": float("inf")}, "--max-hours"),
        ({"gpu_hours": -1.0}, "--gpu-hours"),
        ({"no_improvement": 0}, "--no-improvement"),
    ],
)
def test_an_invalid_limit_is_refused(wrong, option):
    with pytest.raises(UsageError, match=f"^{option} must be .* but got"):
        Budget(**wrong)


# No better result


def test_without_a_full_run_nothing_counts_as_waiting_for_a_better_one():
    assert since_best([], 30) == 0


def test_trials_count_from_the_end_of_the_best():
    assert since_best([(0.3, 1), (0.5, 4), (0.4, 9)], 12) == 8


def test_an_equal_result_is_not_better():
    assert since_best([(0.5, 9), (0.5, 4)], 12) == 8


def test_ended_and_waiting_trials_are_judged(history):
    statuses = [Status.RUNNING, PAUSED, COMPLETE, STOPPED, LOST, Status.UNKNOWN]
    assert judged(history(*[AT_RUNG] * 6, statuses=statuses)) == 4
