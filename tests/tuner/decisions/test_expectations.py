"""Expected final results of trials that ended early."""

import numpy as np
import pytest

from tuner.decisions.expectations import expectations, normal_scores
from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs

RUNGS = Rungs(epochs=(3, 9), reduction_factor=3)
EPOCHS = 27
P, C, LOST = Status.PAUSED, Status.COMPLETE, Status.LOST


def searched(early, final=None, losses=None, *, complete=0):
    """Make a history of trials at epoch 3. The first ones are complete. Losses are those at epochs 1 and 3."""
    history = History(epochs=EPOCHS, dimensions=1)
    for number, value in enumerate(early):
        history.begin(np.array([0.5]))
        history.report(number, 3, value)
        if losses is not None:
            history.note_loss(number, 1, losses[number][0])
            history.note_loss(number, 3, losses[number][1])
        if number < complete:
            history.report(number, 9, final[number])
            history.report(number, EPOCHS, final[number])
        history.set_status(number, C if number < complete else P)
    return history


def correlation(a, b):
    return float(np.corrcoef(a, b)[0, 1])


def test_complete_trials_are_expected_to_end_as_they_did(history):
    seen = expectations(history({3: 0.1, 9: 0.2, 27: 0.4}, {3: 0.2, 9: 0.3, 27: 0.3}, statuses=[C, C]), RUNGS)
    assert seen.mean[0] > seen.mean[1]
    assert list(seen.variance) == [0.0, 0.0]


def test_nothing_is_expected_of_a_trial_before_its_first_rung(history):
    seen = expectations(history({3: 0.1}, {}, {2: 0.9}), RUNGS)
    assert np.isfinite(seen.mean[0])
    assert np.isnan(seen.mean[1:]).all()


def test_a_lost_trial_is_worse_than_any_other_without_uncertainty(history):
    seen = expectations(history({3: 0.1}, {3: 0.2}, {2: 0.9}, {}, statuses=[P] * 2 + [LOST] * 2), RUNGS)
    assert seen.mean[2] == seen.mean[3] == -np.inf
    assert seen.variance[2] == seen.variance[3] == 0.0
    arrived, expected = seen.at_rung[3]
    assert list(arrived) == [0, 1, 2, 3]
    assert list(np.isfinite(expected)) == [True, True, False, False]


def test_without_losses_the_order_of_the_metric_counts(history):
    values = [0.1, 0.5, 0.3, 0.2]
    expected = expectations(history(*({3: value} for value in values)), RUNGS).mean
    assert list(np.argsort(expected)) == list(np.argsort(values))


def test_only_the_order_of_the_metrics_counts(history):
    values = np.array([0.1, 0.5, 0.3, 0.2])
    plain = expectations(history(*({3: v} for v in values)), RUNGS).mean
    skewed = expectations(history(*({3: v} for v in np.exp(20 * values))), RUNGS).mean
    assert np.allclose(plain, skewed)


def test_equal_values_have_equal_expectations(history):
    seen = expectations(history({3: 0.0}, {3: 0.0}, {3: 0.1}), RUNGS).mean
    assert seen[0] == seen[1] < seen[2]
    assert np.allclose(normal_scores(np.array([1.0, 1.0])), 0.0)


def trusting(early, falls, later):
    """Measure how far expectations at epoch 3 follow the metric and the fall of the loss. One trial is complete.

    Its metric and its fall are in the middle, so it only shows where metrics end.
    """
    middle = (float(np.median(early)), float(np.median(falls)))
    losses = [(10.0, 10.0 * np.exp(-fall)) for fall in (middle[1], *falls)]
    history = searched([middle[0], *early], [later], losses, complete=1)
    expected = expectations(history, RUNGS).mean[1:]
    return correlation(expected, normal_scores(early)), correlation(expected, normal_scores(falls))


RNG = np.random.default_rng(0)
METRICS, FALLS = RNG.random(40), RNG.random(40)


def test_the_lower_the_metric_of_a_rung_is_than_later_ones_the_more_the_loss_counts():
    by_metric, by_loss = zip(*(trusting(METRICS, FALLS, later) for later in (1.0, 2.0, 8.0, 1e4)), strict=True)
    assert by_metric[0] > 0.99
    assert by_loss[-1] > 0.99
    assert list(by_metric) == sorted(by_metric, reverse=True)
    assert list(by_loss) == sorted(by_loss)


def test_before_a_trial_has_gone_further_the_loss_counts_more_than_the_metric():
    losses = [(10.0, 10.0 * np.exp(-fall)) for fall in FALLS]
    expected = expectations(searched(METRICS, losses=losses), RUNGS).mean
    by_metric, by_loss = (correlation(expected, normal_scores(signs)) for signs in (METRICS, FALLS))
    assert 0.3 < by_metric < by_loss < 0.99


def test_a_metric_that_falls_after_the_rung_counts_in_full():
    assert trusting(METRICS, FALLS, 0.3) == pytest.approx(trusting(METRICS, FALLS, METRICS.max()))


def test_a_metric_that_can_be_negative_counts_in_full():
    """Use a metric such as a negated loss, whose ratios mean nothing."""
    assert trusting(METRICS - 2.0, FALLS, -0.1)[0] > 0.99
    assert trusting(METRICS - 0.5, FALLS, 100.0)[0] > 0.99


def test_metrics_between_the_rungs_change_nothing():
    losses = [(10.0, 9.0), (10.0, 5.0), (10.0, 7.0)]
    plain, more = (searched([0.1, 0.3, 0.2], [0.4], losses, complete=1) for _ in range(2))
    for epoch in (1, 2, 5, 20):
        more.report(0, epoch, 0.9)
    assert np.array_equal(expectations(plain, RUNGS).mean, expectations(more, RUNGS).mean)


def test_without_losses_a_metric_far_below_later_ones_decides_too():
    seen = expectations(searched([0.1, 0.3, 0.2, 0.15], [50.0], complete=1), RUNGS)
    assert list(np.argsort(seen.mean[1:])) == [2, 1, 0]


def test_while_all_metrics_are_zero_the_loss_decides():
    losses = [(10.0, 9.0), (10.0, 5.0), (10.0, 7.0)]
    seen = expectations(searched(early=[0.0] * 3, losses=losses), RUNGS)
    assert list(np.argsort(seen.mean)) == [0, 2, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_relation_of_a_rung_to_the_final_result_is_learnt(sign):
    rng = np.random.default_rng(0)
    early = rng.random(80)
    final = sign * early + 0.05 * rng.standard_normal(80)
    seen = expectations(searched(early, final, complete=40), RUNGS)
    assert correlation(seen.mean[40:], sign * normal_scores(early)[40:]) > 0.95


def test_a_less_informative_rung_leaves_more_uncertainty():
    rng = np.random.default_rng(0)
    early = rng.random(80)
    telling = searched(early, early + 0.01 * rng.standard_normal(80), complete=40)
    silent = searched(early, rng.random(80), complete=40)
    open_of = [expectations(history, RUNGS).variance[40:].mean() for history in (telling, silent)]
    assert open_of[0] < 0.5 * open_of[1]


def test_a_promoted_trial_that_disappoints_falls_behind_those_that_wait():
    early = [0.9, 0.85, 0.8, 0.75, *np.linspace(0.1, 0.7, 12)]
    final = [0.2, 0.8, 0.7, 0.6]
    seen = expectations(searched(early, final, complete=4), RUNGS).mean
    assert seen[0] < seen[15]  # the best of the waiting ones, at 0.7


def test_between_rungs_the_last_rung_counts(history):
    seen = expectations(history({3: 0.1}, {3: 0.2}, {3: 0.1, 5: 0.9}), RUNGS).mean
    assert seen[2] == seen[0] < seen[1]


def test_without_rungs_only_complete_trials_are_known(history):
    seen = expectations(history({27: 0.1}, {5: 0.9}, statuses=[C]), Rungs(epochs=(), reduction_factor=3))
    assert np.isfinite(seen.mean[0])
    assert np.isnan(seen.mean[1])
    assert seen.at_rung == {}


def test_expectations_follow_the_history(history):
    seen = history({3: 0.1}, {3: 0.2})
    before = expectations(seen, RUNGS)
    assert expectations(seen, RUNGS) is before
    seen.report(0, 9, 0.5)
    assert expectations(seen, RUNGS) is not before


def test_a_trial_that_begins_or_is_lost_later_is_included(history):
    seen = history({3: 0.1}, {3: 0.2})
    before = expectations(seen, RUNGS)
    seen.begin(np.array([0.5]))
    after = expectations(seen, RUNGS)
    assert list(after.mean[:2]) == list(before.mean)
    assert np.isnan(after.mean[2])
    assert after.variance[2] == 0.0
    seen.set_status(2, LOST)
    assert expectations(seen, RUNGS).mean[2] == -np.inf
