"""Restore a search from the record of another driver."""

import math

import pytest
from optuna.trial import TrialState

from tuner.decisions.history import Status
from tuner.search.restoring import restored_decider, restored_trial, status_of
from tuner.space import UnitCube
from tuner.study import FailedAttempt, TrialFacts, TrialRecord
from tuner.trials.retry_policy import Failure


def trial(number=0, state=TrialState.RUNNING, *, curve=None, reason="", lr0=0.01, **facts):
    return TrialRecord(
        number=number,
        state=state,
        value=None,
        curve=curve or {},
        sampled={"lr0": lr0},
        params={"lr0": lr0},
        reason=reason,
        facts=TrialFacts(**facts),
    )


@pytest.mark.parametrize(
    ("recorded", "status"),
    [
        (trial(state=TrialState.RUNNING), Status.RUNNING),
        (trial(state=TrialState.WAITING), Status.RUNNING),
        (trial(state=TrialState.WAITING, paused_at=3), Status.PAUSED),
        (trial(state=TrialState.COMPLETE), Status.COMPLETE),
        (trial(state=TrialState.FAIL, reason="error: why"), Status.UNKNOWN),
        (trial(state=TrialState.PRUNED, reason="early stop at epoch 3"), Status.STOPPED),
        (trial(state=TrialState.PRUNED, reason="diverged: NaN"), Status.LOST),
        (trial(state=TrialState.PRUNED, reason="out of memory", failure="out of memory"), Status.LOST),
    ],
    ids=lambda value: value.name if isinstance(value, Status) else "",
)
def test_every_state_means_something_to_decisions(recorded, status):
    assert status_of(recorded) == status


def test_decisions_know_the_curves_without_nan_and_values_after_the_last_epoch(spec, space, paths):
    trials = [trial(0, curve={3: 0.2, 9: 0.4}), trial(1, lr0=0.5, curve={3: math.nan, 10: 0.9})]
    history = restored_decider(spec, space, UnitCube(space), trials, paths).history
    assert history.reached.tolist() == [9, 0]
    assert history.values[0, [2, 8]].tolist() == [0.2, 0.4]


def test_decisions_know_the_recorded_losses(spec, space, paths):
    trials = [trial(0, curve={3: 0.2}, losses={1: 9.0, 3: 4.5, 10: 1.0}), trial(1, curve={3: 0.2})]
    losses = restored_decider(spec, space, UnitCube(space), trials, paths).history.losses
    assert losses[0, [0, 2]].tolist() == [9.0, 4.5]
    assert math.isnan(losses[0, 1])
    assert all(math.isnan(loss) for loss in losses[1])


def test_a_users_trial_that_has_not_begun_is_unknown_to_decisions(spec, space, paths):
    enqueued = TrialRecord(number=0, state=TrialState.WAITING, value=None, curve={}, sampled={}, params={}, reason="")
    assert len(restored_decider(spec, space, UnitCube(space), [enqueued], paths).history) == 0


def test_a_trial_continues_with_its_failed_attempts_and_the_epoch_that_it_reached():
    failed = FailedAttempt(failure="infrastructure", epoch=2, cause="killed")
    live = restored_trial(trial(7, curve={3: 0.2}, failed_attempts=(failed, failed), attempts=3))
    assert (live.number, live.starts, live.attempts.reached) == (7, 3, 3)
    assert live.attempts.fail(Failure.INFRASTRUCTURE, "killed"), "it was an epoch further"
