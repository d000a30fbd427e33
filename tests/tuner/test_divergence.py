"""When an epoch shows that a run has diverged."""

import math

import pytest

from tuner.divergence import EXPLODED, divergence


@pytest.mark.parametrize(
    ("metric", "loss", "first_loss", "said"),
    [
        (math.nan, 1.0, 1.0, "the metric is nan"),
        (0.2, math.inf, 1.0, "a loss is not finite"),
        (None, math.nan, 1.0, "a loss is not finite"),
        (None, 3.2, 2.0, "the loss is 3.2, 1.6 times that of the first epoch"),
    ],
)
def test_a_value_that_is_no_number_and_an_exploded_loss_are_named(metric, loss, first_loss, said):
    assert divergence(metric, loss, first_loss) == said


@pytest.mark.parametrize("loss", [0.0, 1.0, EXPLODED])
def test_a_loss_up_to_the_factor_of_the_first_one_is_none(loss):
    assert divergence(0.0, loss, 1.0) is None


def test_a_first_loss_of_nothing_is_no_measure():
    assert divergence(None, 100.0, 0.0) is None
