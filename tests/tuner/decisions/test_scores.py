"""Values of unlike budgets on one scale."""

import numpy as np
import pytest

from tuner.decisions.history import Status
from tuner.decisions.rungs import Rungs
from tuner.decisions.scores import expected_finals, scores

RUNGS = Rungs(epochs=(3, 9), reduction_factor=3)


def test_a_full_run_is_what_it_showed(history):
    assert expected_finals(history({3: 0.1, 9: 0.2, 27: 0.4}), RUNGS)[0] == 0.4


def test_a_short_run_is_carried_by_what_others_gained_from_there(history):
    # the long one gained 0.1 to epoch 9 and 0.2 more to the end
    assert expected_finals(history({3: 0.1, 9: 0.2, 27: 0.4}, {3: 0.15}), RUNGS)[1] == pytest.approx(0.45)


def test_between_two_rungs_part_of_the_way_is_behind_it(history):
    whole = expected_finals(history({3: 0.1, 9: 0.2, 27: 0.2}, {3: 0.1}), RUNGS)[1]
    half = expected_finals(history({3: 0.1, 9: 0.2, 27: 0.2}, {6: 0.1}), RUNGS)[1]
    assert (whole, half) == (pytest.approx(0.2), pytest.approx(0.15))


def test_a_lost_trial_is_worse_than_any_and_says_no_more(history):
    seen = scores(history({3: 0.1}, {3: 0.2}, {2: 0.9}, {}, statuses=[Status.PAUSED] * 2 + [Status.LOST] * 2), RUNGS)
    assert seen[2] == seen[3] < seen[0] < seen[1]


def test_nothing_is_known_of_a_trial_without_values(history):
    seen = scores(history({3: 0.1}, {}), RUNGS)
    assert np.isfinite(seen[0])
    assert np.isnan(seen[1])


def test_only_the_order_counts(history):
    values = np.array([0.1, 0.5, 0.3, 0.2])
    plain = scores(history(*({27: v} for v in values)), RUNGS)
    skewed = scores(history(*({27: v} for v in np.exp(20 * values))), RUNGS)
    assert np.allclose(plain, skewed)
    assert plain.sum() == pytest.approx(0.0)


def test_equal_values_have_equal_scores(history):
    seen = scores(history({3: 0.0}, {3: 0.0}, {3: 0.1}), RUNGS)
    assert seen[0] == seen[1] < seen[2]
