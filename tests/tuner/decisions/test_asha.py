"""Asynchronous successive halving, stopping variant: which trials continue at a rung."""

import numpy as np
import pytest

from tuner.decisions.history import History
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Asha, GoOn, Stop

ASHA = Asha(rungs=Rungs(epochs=(3, 9), reduction_factor=3), has_baseline=False)


def history(*curves):
    """Make a history in which trial i has curves[i], by epoch."""
    seen = History(epochs=27, dimensions=1)
    for curve in curves:
        number = seen.begin(np.array([0.5]))
        for epoch, value in curve.items():
            seen.report(number, epoch, value)
    return seen


def at(*values, epoch=3):
    return history(*({epoch: value} for value in values))


def test_a_rung_with_fewer_values_than_the_factor_stops_no_trial():
    assert ASHA.verdict(at(0.5, 0.0), 1, 3) == GoOn()


@pytest.mark.parametrize(
    ("values", "continues"),
    [
        # the last one has just arrived; the best third, rounded down, continues
        ((0.1, 0.2, 0.3), True),
        ((0.1, 0.3, 0.2), False),
        ((0.1, 0.2, 0.3, 0.4, 0.35), False),  # one place of five
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.45), True),  # two places of six
        ((0.5, 0.1, 0.2, 0.4, 0.3, 0.35), False),
    ],
)
def test_the_best_third_of_arrived_trials_continues(values, continues):
    assert isinstance(ASHA.verdict(at(*values), len(values) - 1, 3), GoOn if continues else Stop)


def test_equal_values_stop_no_trial():
    assert ASHA.verdict(at(*[0.0] * 6), 5, 3) == GoOn()


def test_only_values_at_the_rung_itself_count():
    seen = history({3: 0.9, 9: 0.9}, {4: 0.9}, {3: 0.1})
    assert ASHA.verdict(seen, 2, 3) == GoOn()  # two values at epoch 3: too few


def test_no_trial_is_judged_between_rungs():
    assert ASHA.verdict(at(0.9, 0.8, 0.1, epoch=4), 2, 4) == GoOn()


def test_the_reason_names_epoch_value_and_rank():
    assert ASHA.verdict(at(0.9, 0.8, 0.1), 2, 3) == Stop(
        reason="early stop at epoch 3: 0.1000 is not among the best 1 of 3 trials at this rung"
    )


def test_a_baseline_is_never_stopped():
    asha = Asha(rungs=ASHA.rungs)
    assert asha.verdict(at(0.0, 0.8, 0.9), 0, 3) == GoOn()
    assert isinstance(asha.verdict(at(0.9, 0.8, 0.0), 2, 3), Stop)
