"""Asynchronous successive halving: who goes on at a rung."""

import pytest

from tuner.early_stopping import Asha

ASHA = Asha(rungs=(3, 9), reduction_factor=3)


def curves(*values, epoch=3):
    """Trial i has shown values[i] at the epoch."""
    return {number: {epoch: value} for number, value in enumerate(values)}


def test_a_rung_with_fewer_values_than_the_factor_judges_nobody():
    assert ASHA.verdict(1, 3, curves(0.5, 0.0)) is None


@pytest.mark.parametrize(
    ("values", "goes_on"),
    [
        # the last one has just arrived; the best third, rounded down, goes on
        ((0.1, 0.2, 0.3), True),
        ((0.1, 0.3, 0.2), False),
        ((0.1, 0.2, 0.3, 0.4, 0.35), False),  # one place of five
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.45), True),  # two places of six
        ((0.5, 0.1, 0.2, 0.4, 0.3, 0.35), False),
    ],
)
def test_the_best_third_of_those_who_arrived_goes_on(values, goes_on):
    verdict = ASHA.verdict(len(values) - 1, 3, curves(*values))
    assert (verdict is None) == goes_on


def test_equal_values_stop_nobody():
    assert ASHA.verdict(5, 3, curves(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)) is None


def test_only_values_at_the_very_rung_count():
    seen = {0: {3: 0.9, 9: 0.9}, 1: {4: 0.9}, 2: {3: 0.1}}
    assert ASHA.verdict(2, 3, seen) is None  # two values at epoch 3: too few


def test_between_rungs_nobody_is_judged():
    assert ASHA.verdict(2, 4, curves(0.9, 0.8, 0.1, epoch=4)) is None


def test_the_reason_names_epoch_value_and_rank():
    reason = ASHA.verdict(2, 3, curves(0.9, 0.8, 0.1))
    assert reason == "early stop at epoch 3: 0.1000 is not among the best 1 of 3 trials at this rung"


def test_the_same_curves_give_the_same_verdict_whatever_their_order():
    seen = curves(0.1, 0.2, 0.3, 0.4, 0.35)
    backwards = dict(reversed(seen.items()))
    assert ASHA.verdict(4, 3, seen) == ASHA.verdict(4, 3, backwards)
