"""Calculate how long a search may still train."""

import pytest

from tests.tuner.study.test_changes import Kept, in_memory
from tuner.decisions.stopping import Budget
from tuner.search.budget import TimeBudget
from tuner.study import TrialFacts
from tuner.trials.live import LiveTrial


@pytest.fixture
def study(spec, space):
    """Return a study of two trials. The first has already trained for 100 s."""
    study = in_memory(Kept(), spec)
    for lr0 in (0.1, 0.2):
        study.begin({"lr0": lr0}, space)
    study.record(0, TrialFacts(seconds=100.0))
    return study


def live(*seconds):
    return {number: LiveTrial(number=number, seconds=each, gpu_seconds=each) for number, each in enumerate(seconds)}


def left_s(study, running, *, gpus_per_trial=0, **bounds):
    return TimeBudget(study, running, Budget(**bounds), gpus_per_trial=gpus_per_trial).left_s()


def test_nothing_is_shown_without_a_time_limit(study):
    assert left_s(study, live(50.0), no_improvement=3) is None


def test_wall_time_counts_down(study):
    budget = TimeBudget(study, {}, Budget(hours=0.1), gpus_per_trial=0)
    budget.pass_time(100.0)
    assert budget.left_s() == pytest.approx(260.0)
    assert budget.reached(lambda: 0) is None
    budget.pass_time(260.0)
    assert (budget.left_s(), budget.reached(lambda: 0)) == (0.0, "the budget of 0.1 hours is spent (--max-hours)")


def test_training_time_is_shared_by_concurrent_trials_on_all_their_gpus(study):
    """Of 3600 GPU-seconds the first trial has used 100 by its record, the second 50 by now, each on two GPUs."""
    running = live(20.0, 50.0)
    assert left_s(study, running, gpus_per_trial=2, gpu_hours=1.0) == pytest.approx((3600 - 2 * 150) / 4)
    assert left_s(study, {}, gpus_per_trial=2, gpu_hours=1.0) == pytest.approx((3600 - 2 * 100) / 1)


def test_the_limit_that_is_reached_first_counts(study):
    assert left_s(study, {}, hours=0.01, gpu_hours=1.0) == pytest.approx(36.0)
