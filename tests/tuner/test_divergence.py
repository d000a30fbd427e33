"""Detect from an epoch that a run has diverged."""

import math

import pytest

from tuner.divergence import EXPLODED, EXPLODED_BLIND, divergence


@pytest.mark.parametrize(
    ("metric", "loss", "first_loss", "said"),
    [
        (math.nan, 1.0, 1.0, "the metric is nan"),
        (0.2, math.inf, 1.0, "a loss is not finite"),
        (None, math.nan, 1.0, "a loss is not finite"),
        (None, 3.2, 2.0, "the loss is 3.2, 1.6 times that of the first epoch"),
    ],
)
def test_a_value_that_is_not_a_number_and_an_exploded_loss_are_named(metric, loss, first_loss, said):
    assert divergence(metric, loss, first_loss, has_detected=True) == said


@pytest.mark.parametrize("loss", [0.0, 1.0, EXPLODED])
def test_a_loss_up_to_the_factor_of_the_first_one_is_not_divergence(loss):
    assert divergence(0.0, loss, 1.0, has_detected=True) is None


def test_a_first_loss_of_zero_is_not_a_reference():
    assert divergence(None, 100.0, 0.0, has_detected=False) is None


@pytest.mark.parametrize("metric", [None, 0.0])
@pytest.mark.parametrize("loss", [1.6, 8.4, EXPLODED_BLIND])
def test_a_loss_may_rise_several_times_while_nothing_is_detected_yet(metric, loss):
    assert divergence(metric, loss, 1.0, has_detected=False) is None


def test_even_while_nothing_is_detected_a_loss_can_explode():
    told = divergence(0.0, 30.0, 2.0, has_detected=False)
    assert told == "the loss is 30, 15.0 times that of the first epoch"


@pytest.mark.parametrize("metric", [0.001, -0.5])
def test_the_first_metric_that_is_not_zero_lowers_the_limit(metric):
    assert divergence(metric, 1.6, 1.0, has_detected=False) is not None
