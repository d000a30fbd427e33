"""End a search before its last trial, and resume it with larger limits."""

import shutil
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import SPACE, driven, epoch, play
from tests.tuner.study.test_changes import Kept, in_memory
from tuner.contract import EndRecord, Outcome
from tuner.decisions.stopping import Budget
from tuner.exceptions import FailurePolicyError
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.training.final_run import choose_winner
from tuner.trials.requests import TrialTerms
from tuner.trials.workload import Decision

CURVES = Path(__file__).parents[1] / "diagnosis" / "curves"
RUN_S = 18.0
"""Training time of a whole trial: 9 epochs of 2 s (`conftest.epoch`)."""


@pytest.fixture
def wide(space):
    """Return the same space with 40 trials."""
    return space.with_settings(trials=40)


@pytest.fixture
def begin(study, wide, paths, terms):
    """Return a function that resumes the study; each call is a new driver."""

    def begun(told=None, **bounds):
        on_event = (lambda line: None) if told is None else told.append
        return Search(study, wide, paths, terms, on_event, Budget(**bounds))

    return begun


def hours(seconds):
    return seconds / 3600


def states(search):
    return [trial.state.name for trial in search.trials]


# Equal values


def play_equal(search, number, value=0.0):
    for _ in range(number):
        play(search, search.suggest(), value, value)


def test_ten_trials_with_equal_values_end_the_search_with_the_likely_causes(begin, paths):
    search = begin()
    play_equal(search, 9)
    assert search.problem is None
    play_equal(search, 1)
    assert search.suggest() is None
    assert isinstance(search.problem, FailurePolicyError)
    assert search.problem.exit_code == 7
    assert str(search.problem).startswith(
        "The search stopped: the best mAP50-95 of the 10 complete trials is 0; likely causes: labels that are not found"
    )
    assert str(paths.root / "trials") in str(search.problem)


def test_a_resumed_search_reports_equal_values_again_after_ten_more_and_not_before(begin):
    play_equal(begin(), 10)
    search = begin()
    assert not search.finished
    play_equal(search, 9)
    assert search.problem is None
    play_equal(search, 1)
    assert isinstance(search.problem, FailurePolicyError)


def test_restarts_in_between_do_not_hide_that_values_are_equal(begin):
    for _ in range(2):
        play_equal(begin(), 4)
    search = begin()
    play_equal(search, 2)
    assert isinstance(search.problem, FailurePolicyError)


def test_a_search_whose_last_trial_is_the_tenth_with_an_equal_value_has_no_winner(study, space, paths, terms):
    search = Search(study, space.with_settings(trials=10), paths, terms)
    play_equal(search, 10)
    assert isinstance(search.problem, FailurePolicyError)


def test_a_default_that_works_keeps_zeros_from_ending_the_search(begin):
    search = begin()
    play(search, search.suggest(), 0.0, 0.4)
    play_equal(search, 30)
    assert search.problem is None
    assert states(search).count("COMPLETE") == 31


def test_ten_configurations_with_one_value_above_zero_end_the_search_because_nothing_has_an_effect(begin):
    search = begin()
    play_equal(search, 9, 0.354)
    assert search.problem is None
    play_equal(search, 1, 0.354)
    assert search.problem.exit_code == 7
    assert "10 different configurations all have the same mAP50-95, 0.354; likely causes: a metric" in str(
        search.problem
    )


@pytest.mark.parametrize(
    ("at_rung", "at_end"),
    [(0.1, 0.2), (0.2, 0.354)],
    ids=["another value at the end", "another value at a rung"],
)
def test_a_streak_of_equal_values_does_not_end_a_search_in_which_one_differed(begin, at_rung, at_end):
    search = begin()
    play(search, search.suggest(), at_rung, at_end)
    play_equal(search, 30, 0.354)
    assert search.problem is None
    assert not search.finished


# The highest possible value


def test_ten_trials_at_the_ceiling_end_the_search_in_order_and_the_default_is_kept(begin, study):
    told = []
    search = begin(told)
    play_equal(search, 9, 0.995)
    assert not search.finished
    play_equal(search, 1, 0.995)
    assert search.finished
    assert search.problem is None
    assert told[-1] == (
        "the search ends: 10 trials have the highest possible mAP50-95, 0.995; no better result is possible"
    )
    assert choose_winner(study).said() == (
        "The default configuration was not beaten: keep it. Its value is the highest possible."
    )


def test_the_ceiling_counts_over_restarts_and_ends_the_next_search_at_once(begin):
    for _ in range(2):
        play_equal(begin(), 5, 0.995)
    assert begin().finished


def test_ten_trials_at_the_ceiling_after_others_leave_a_winner_to_compare(begin, study):
    search = begin()
    play(search, search.suggest(), 0.1, 0.5)
    play_equal(search, 10, 0.995)
    assert search.finished
    assert search.problem is None
    assert choose_winner(study).trial.number == 1


def test_trials_cut_off_at_the_ceiling_do_not_delay_the_end(begin):
    search = begin()
    play_equal(search, 9, 0.995)
    last, other = search.suggest(), search.suggest()
    search.report(other.trial, epoch(1))
    play(search, last, 0.995, 0.995)
    assert search.report(other.trial, epoch(2)) == Decision.STOP
    search.report(other.trial, EndRecord(outcome=Outcome.STOPPED))
    search.close()
    assert search.trials[other.trial].state == TrialState.PRUNED
    assert search.trials[other.trial].reason.startswith("no longer needed: 10 trials have the highest")


def test_many_trials_that_share_the_best_value_below_the_ceiling_are_no_reason_to_end(begin):
    search = begin()
    for at_end in (0.2, 0.3, 0.3, 0.1):
        play(search, search.suggest(), 0.1, at_end)
    play_equal(search, 20, 0.8)
    assert not search.finished


@pytest.mark.parametrize("strategy", ["asha-promotion", "auto"])
def test_trials_that_wait_at_the_first_rung_with_zero_do_not_end_the_search(study, paths, terms, strategy):
    text = SPACE.replace("strategy: asha-stopping", f"strategy: {strategy}").replace("sampler: random", "sampler: auto")
    space = parse_space(text, name="small", file="small.yaml").with_settings(trials=40)
    search = Search(study, space, paths, terms)
    for _ in range(20):  # trials that are called back do not get further
        search.report(search.suggest().trial, epoch(3, 0.0))
    assert sum(trial.is_paused for trial in search.trials) >= 10
    assert search.problem is None


# Budgets


def test_a_spent_budget_ends_the_search_in_order_without_an_error_and_with_a_winner(begin, study):
    told = []
    search = begin(told, gpu_hours=hours(2.5 * RUN_S))
    for at_end in (0.3, 0.4):
        play(search, search.suggest(), 0.1, at_end)
    last, other = search.suggest(), search.suggest()
    assert [search.report(last.trial, epoch(number)) for number in range(1, 6)][-1] == Decision.STOP
    assert search.finished
    assert search.suggest() is None
    assert search.report(other.trial, epoch(1)) == Decision.STOP
    for request in (last, other):
        search.report(request.trial, EndRecord(outcome=Outcome.STOPPED))
    assert states(search) == ["COMPLETE", "COMPLETE", "WAITING", "WAITING"]
    assert search.problem is None
    assert choose_winner(study).trial.number == 1
    assert (
        told[-1]
        == "the search ends: the budget of 0.0125 GPU-hours is spent (--gpu-hours); continue it with a larger number"
    )


def test_the_same_budget_again_is_spent_at_once_and_a_larger_one_resumes_waiting_trials(begin):
    search = begin(gpu_hours=hours(10.0))
    request = search.suggest()
    for number in range(1, 6):
        search.report(request.trial, epoch(number))
    search.requeue(request.trial)
    assert search.trials[0].facts.seconds == 10.0
    assert begin(gpu_hours=hours(10.0)).finished
    again = begin(gpu_hours=hours(20.0))
    assert again.suggest().trial == request.trial


def test_repeated_epochs_are_not_counted_twice(begin):
    search = begin(gpu_hours=hours(1.5 * RUN_S))
    for _ in range(4):
        request = search.suggest()
        for number in range(1, 6):
            search.report(request.trial, epoch(number))
        search.requeue(request.trial)
    assert not search.finished
    request = search.suggest()
    search.requeue(request.trial)  # before its trainer sent a record
    assert search.trials[0].facts.seconds == 10.0


def test_training_before_a_final_failure_is_counted(begin):
    search = begin(gpu_hours=hours(14.0))
    for _ in range(2):
        request = search.suggest()
        for number in range(1, 4):
            search.report(request.trial, epoch(number))
        search.report(request.trial, EndRecord(outcome=Outcome.ERROR, message=f"bug {request.trial}"))
        assert not search.finished
    assert search.report(search.suggest().trial, epoch(1)) == Decision.STOP


def test_a_trial_whose_last_epoch_spends_the_budget_is_complete(begin):
    search = begin(gpu_hours=hours(RUN_S))
    play(search, search.suggest(), 0.1, 0.3)
    assert states(search) == ["COMPLETE"]
    assert search.finished


def test_each_gpu_of_a_trial_is_counted(study, wide, paths):
    terms = TrialTerms(threads=1, gpus_per_trial=4, validate_every_epoch=False)
    search = Search(study, wide, paths, terms, bounds=Budget(gpu_hours=hours(8.0)))
    assert search.report(search.suggest().trial, epoch(1)) == Decision.STOP


def test_wall_time_is_summed_over_drivers(url, spec, paths, wide, terms):
    for passed, finished in ((40.0, False), (50.0, False), (20.0, True)):
        with driven(url, spec, paths) as study:
            search = Search(study, wide, paths, terms, bounds=Budget(hours=hours(100.0)))
            search.pass_time(passed)
            search.note_time()
            assert search.finished is finished
    with driven(url, spec, paths) as study:
        assert study.searched_s == 110.0
        assert Search(study, wide, paths, terms, bounds=Budget(hours=hours(100.0))).finished
        assert not Search(study, wide, paths, terms, bounds=Budget(hours=hours(200.0))).finished


def test_a_killed_driver_loses_at_most_a_minute_of_its_time(spec, wide, paths, terms):
    changes = Kept()
    search = Search(in_memory(changes, spec), wide, paths, terms)
    for _ in range(150):
        search.pass_time(1.0)
    assert [dict(change.attributes) for change in changes] == [{"searched_s": 60.0}, {"searched_s": 120.0}]


def test_a_finished_search_is_not_ended_by_its_spent_budget(study, space, paths, terms):
    search = Search(study, space, paths, terms, bounds=Budget(gpu_hours=hours(6 * RUN_S)))
    for at_end in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        play(search, search.suggest(), 0.1, at_end)
    assert search.finished
    assert search.stop_reason is None


# No better result


def test_a_given_number_of_trials_without_a_better_one_ends_the_search(begin):
    search = begin(no_improvement=3)
    for at_end in (0.2, 0.3, 0.1, 0.3):
        play(search, search.suggest(), 0.1, at_end)
    assert not search.finished
    play(search, search.suggest(), 0.05, 0.0)
    assert search.trials[4].state == TrialState.PRUNED
    assert search.stop_reason == "no improvement in 3 trials (--no-improvement 3)"
    assert search.problem is None


def test_a_better_trial_resets_the_count_across_restarts_too(begin):
    values = iter((0.2, 0.1, 0.1, 0.3, 0.1, 0.1, 0.1))
    for cut in (2, 3, 1):
        search = begin(no_improvement=3)
        for _ in range(cut):
            play(search, search.suggest(), 0.1, next(values))
        assert not search.finished
    search = begin(no_improvement=3)
    play(search, search.suggest(), 0.1, next(values))
    assert search.finished
    assert begin(no_improvement=3).finished
    assert not begin(no_improvement=4).finished


def test_failures_are_not_results(begin):
    search = begin(no_improvement=2)
    play(search, search.suggest(), 0.1, 0.3)
    for number in range(3):
        search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message=f"bug {number}"))
    assert search.stop_reason is None


def test_the_diagnosis_of_the_best_trial_is_shown_when_a_search_ends_without_a_gain(begin, paths):
    folder = paths.trial(0)
    folder.mkdir(parents=True)
    shutil.copy(CURVES / "lr-too-low" / "results.csv", folder)
    search = begin()
    play_equal(search, 10)
    told = str(search.problem)
    assert ". Trial 0 shows loss-not-falling: the training loss goes from " in told
    assert told.endswith(f". Logs: {paths.root / 'trials'}")
