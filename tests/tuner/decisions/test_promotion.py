"""Successive halving with promotion: which trials pause, are called back, or end."""

import numpy as np
import pytest

from tuner.decisions.history import Status
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import GoOn, Limits, Pause, Promotion, Stop

RUNGS = Rungs(epochs=(3, 9), reduction_factor=3)
FREE = Promotion(rungs=RUNGS, has_baseline=False)
P, R, LOST, C = Status.PAUSED, Status.RUNNING, Status.LOST, Status.COMPLETE


def test_a_trial_in_the_best_third_of_arrivals_continues_at_once(history):
    assert FREE.verdict(history({3: 0.1}, {3: 0.2}, {3: 0.3}), 2, 3) == GoOn()


def test_a_trial_below_the_best_third_pauses(history):
    assert FREE.verdict(history({3: 0.1}, {3: 0.3}, {3: 0.2}), 2, 3) == Pause()


def test_all_trials_pause_if_fewer_arrived_than_the_factor(history):
    assert FREE.verdict(history({3: 0.1}, {3: 0.9}), 1, 3) == Pause()


def test_no_trial_pauses_between_rungs(history):
    assert FREE.verdict(history({3: 0.9}, {3: 0.9}, {4: 0.0}), 2, 4) == GoOn()


def test_a_paused_trial_is_called_back_once_a_place_is_free(history):
    two = history({3: 0.1}, {3: 0.9}, statuses=(P, P))
    three = history({3: 0.1}, {3: 0.9}, {3: 0.2}, statuses=(P, P, P))
    assert FREE.resumed(two) is None
    assert FREE.resumed(three) == 1


def test_the_highest_rung_comes_first(history):
    seen = history({3: 0.9, 9: 0.9}, {3: 0.8, 9: 0.5}, {3: 0.7, 9: 0.4}, *[{3: 0.95}] * 9, statuses=[P] * 12)
    assert FREE.resumed(seen) == 0  # one place of three at epoch 9, though four wait for a place at epoch 3


def test_a_promoted_trial_keeps_its_place(history):
    seen = history({3: 0.9}, {3: 0.8}, {3: 0.1}, statuses=(R, P, P))
    assert FREE.resumed(seen) is None


def test_lost_trials_count_as_the_worst_of_the_rung_that_they_were_on_the_way_to(history):
    seen = history({3: 0.9}, {}, {1: 0.5}, statuses=(P, LOST, LOST))
    assert FREE.resumed(seen) == 0
    higher = history({3: 0.9, 9: 0.9}, {}, {1: 0.5}, statuses=(P, LOST, LOST))
    assert FREE.resumed(higher) is None  # it is alone at epoch 9


def test_a_lost_trial_is_never_called_back(history):
    assert FREE.resumed(history(*[{}] * 6, statuses=[LOST] * 6)) is None


@pytest.mark.parametrize(("trials", "verdict"), [(12, Pause), (9, Stop)])
def test_with_limited_trials_a_trial_ends_once_no_place_can_be_left_for_it(history, trials, verdict):
    strategy = Promotion(rungs=RUNGS, limits=Limits(trials=trials, full_runs=1), has_baseline=False)
    seen = history({3: 0.9}, {3: 0.8}, {3: 0.7}, {3: 0.1})  # three are better; 12 trials have 4 places, 9 have 3
    assert isinstance(strategy.verdict(seen, 3, 3), verdict)


def test_the_reason_says_how_many_are_better_and_how_many_can_continue(history):
    strategy = Promotion(rungs=RUNGS, limits=Limits(trials=6, full_runs=1), has_baseline=False)
    assert strategy.verdict(history({3: 0.9}, {3: 0.8}, {3: 0.1}), 2, 3) == Stop(
        reason="early stop at epoch 3 with 0.1000: 2 trials are ahead at this rung, and at most 2 can continue"
    )


def test_once_no_more_trials_begin_enough_are_called_back_for_the_requested_full_runs(history):
    strategy = Promotion(rungs=RUNGS, limits=Limits(trials=4, full_runs=3), has_baseline=False)
    seen = history({3: 0.9}, {3: 0.8}, {3: 0.1}, {3: 0.2}, statuses=(C, P, P, P))
    assert strategy.resumed(seen) == 1
    seen.set_status(1, R)
    assert strategy.resumed(seen) == 3
    seen.set_status(3, R)
    assert strategy.resumed(seen) is None


def test_a_paused_trial_is_hopeless_as_soon_as_no_place_can_be_left_for_it(history):
    strategy = Promotion(rungs=RUNGS, limits=Limits(trials=6, full_runs=1), has_baseline=False)
    seen = history({3: 0.5}, {3: 0.1}, {3: 0.6}, statuses=(P, P, P))
    assert list(strategy.hopeless(seen)) == [1]  # two places at most
    assert strategy.hopeless(seen)[1].startswith("early stop at epoch 3 with 0.1000: 2 trials are ahead")
    assert FREE.hopeless(seen) == {}


def test_hopeless_trials_of_all_rungs_are_in_the_order_of_their_numbers(history):
    strategy = Promotion(rungs=RUNGS, limits=Limits(trials=6, full_runs=1), has_baseline=False)
    seen = history({3: 0.4, 9: 0.1}, {3: 0.1}, {3: 0.5, 9: 0.2}, {3: 0.6, 9: 0.3}, statuses=[P] * 4)
    assert {trial: reason.split(":")[0] for trial, reason in strategy.hopeless(seen).items()} == {
        0: "early stop at epoch 9 with 0.1000",
        1: "early stop at epoch 3 with 0.1000",
    }
    assert list(strategy.hopeless(seen)) == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_paused_trials_are_hopeless_by_the_number_of_those_ahead_however_many_there_are(history, seed):
    random = np.random.default_rng(seed)
    statuses = random.choice([P, R, LOST, C], 60, p=[0.7, 0.1, 0.1, 0.1])
    curves = [
        {} if status == LOST else {3: round(float(random.random()), 1)} | ({9: 0.5} if status == C else {})
        for status in statuses
    ]
    seen = history(*curves, statuses=tuple(statuses))
    strategy = Promotion(rungs=RUNGS, limits=Limits(trials=60, full_runs=1), has_baseline=False)
    ahead = [sum(other.get(3, -1) > curve.get(3, -1) for other in curves) for curve in curves]
    assert list(strategy.hopeless(seen)) == [t for t in range(60) if statuses[t] == P and ahead[t] >= 20]


def test_the_baseline_never_pauses(history):
    strategy = Promotion(rungs=RUNGS)
    assert strategy.verdict(history({3: 0.0}, {3: 0.8}, {3: 0.9}), 0, 3) == GoOn()


def test_the_same_history_gives_the_same_decision(history):
    rng = np.random.default_rng(0)
    values = rng.random(50)
    statuses = [P] * 50
    first = FREE.resumed(history(*({3: v} for v in values), statuses=statuses))
    assert first == FREE.resumed(history(*({3: v} for v in values), statuses=statuses)) == int(np.argmax(values))


def test_trials_can_be_compared_by_their_expected_final_results(history):
    """Rank by the fall of the loss as long as metrics are far below those of later epochs."""
    by_expectation = Promotion(rungs=RUNGS, has_baseline=False, by_expectation=True)
    seen = history({3: 0.003}, {3: 0.001}, {3: 0.002}, {3: 0.002, 9: 0.5}, statuses=(P, P, P, P))
    for number, loss in enumerate((9.0, 5.0, 8.0, 8.0)):
        seen.note_loss(number, 1, 10.0)
        seen.note_loss(number, 3, loss)
    assert by_expectation.resumed(seen) == 1
    assert FREE.resumed(seen) == 0
