"""Handle failed attempts at a trial, and trials that keep failing."""

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import driven, epoch, play, stored
from tests.tuner.study.test_changes import Kept, in_memory
from tests.tuner.trials.test_retry_policy import BUG, HUNG, LOST
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.exceptions import DataError, FailurePolicyError
from tuner.search.search import Search
from tuner.trials.retry_policy import MAX_RETRIES, Failure
from tuner.trials.workload import Decision


@pytest.fixture
def study(spec):
    """Make a study in memory, because these tests are not about writing."""
    return in_memory(Kept(), spec)


def attempts(search, end, *, epochs=0):
    """Return how often one trial begins if it always ends like this, after that many new epochs."""
    request, begun = search.suggest(), 0
    while True:
        begun += 1
        assert begun < 9
        search.report(request.trial, StartedRecord(pid=1, device="CPU"))
        for number in range(1, begun * epochs + 1):
            search.report(request.trial, epoch(number))
        assert search.report(request.trial, end) == Decision.STOP
        if search.trials[request.trial].state.is_finished():
            return begun
        again = search.suggest()
        assert (again.trial, again.params) == (request.trial, request.params)


# A single trial


@pytest.mark.parametrize(
    ("end", "begun", "state"),
    [
        (LOST, 3, TrialState.FAIL),
        (HUNG, 2, TrialState.FAIL),
        (BUG, 1, TrialState.FAIL),
        (EndRecord(outcome=Outcome.BAD_MODEL, message="why"), 1, TrialState.FAIL),
        (EndRecord(outcome=Outcome.OUT_OF_MEMORY, message="why"), 1, TrialState.PRUNED),
        (EndRecord(outcome=Outcome.DIVERGED, message="why"), 1, TrialState.PRUNED),
    ],
    ids=lambda value: getattr(value, "outcome", ""),
)
def test_a_failure_is_retried_as_often_as_it_makes_sense_under_the_same_number(search, end, begun, state):
    assert attempts(search, end) == begun
    assert [trial.state for trial in search.trials] == [state]


def test_unreadable_data_end_the_search_and_are_not_held_against_the_trial(search):
    """End the search: every other trial reads the same files. Once they are repaired, this trial resumes."""
    request = search.suggest()
    search.report(request.trial, StartedRecord(pid=1, device="CPU"))
    assert search.report(request.trial, EndRecord(outcome=Outcome.BAD_DATA, message="7.jpg is gone")) == Decision.STOP
    assert isinstance(search.problem, DataError)
    assert "7.jpg is gone" in str(search.problem)
    assert [trial.state for trial in search.trials] == [TrialState.WAITING]
    assert search.suggest() is None


def test_a_trial_that_progresses_between_failures_continues(search):
    request = search.suggest()
    for reached in range(1, 9):
        for number in range(1, reached + 1):
            search.report(request.trial, epoch(number, {3: 0.1}.get(number)))
        search.report(request.trial, LOST)
        assert search.suggest().trial == request.trial
    assert play(search, request, 0.1, 0.25) == Decision.STOP
    assert (search.trials[0].state, search.trials[0].value) == (TrialState.COMPLETE, 0.25)
    assert [attempt.epoch for attempt in search.trials[0].facts.failed_attempts] == list(range(1, 9))


def test_repeated_epochs_are_not_progress(search):
    request = search.suggest()
    for _ in range(3):
        for number in (1, 2, 3):
            search.report(request.trial, epoch(number, {3: 0.1}.get(number)))
        search.report(request.trial, LOST)
        search.suggest()
    assert search.trials[0].state == TrialState.FAIL


def test_a_trial_whose_machine_is_lost_resumes_as_one_whose_trainer_is(search):
    for _ in range(3):
        request = search.suggest()
        assert request.trial == 0
        search.on_lost(request.trial, "its process or machine was lost")
    assert search.trials[0].state == TrialState.FAIL
    assert search.trials[0].reason == "infrastructure: its process or machine was lost"


def test_losing_a_trial_that_nobody_trains_changes_nothing(search):
    play(search, search.suggest(), 0.1, 0.25)
    search.on_lost(0, "its process or machine was lost")
    assert search.trials[0].state == TrialState.COMPLETE


@pytest.mark.parametrize("lose", [lambda search: search.report(0, LOST), lambda search: search.on_lost(0, "lost")])
def test_a_loss_while_the_search_ends_is_not_held_against_the_trial(search, lose):
    """Lose a trial to the problem that ends the search, such as a full disk."""
    for _ in range(MAX_RETRIES[Failure.INFRASTRUCTURE]):
        search.report(search.suggest().trial, LOST)
    search.suggest()
    search.stop("only 0 MiB are left on the disk")
    lose(search)
    assert search.trials[0].state == TrialState.WAITING
    assert len(search.trials[0].facts.failed_attempts) == MAX_RETRIES[Failure.INFRASTRUCTURE]


def test_preemption_is_never_a_failure(search):
    for _ in range(10):
        request = search.suggest()
        assert request.trial == 0
        search.report(request.trial, EndRecord(outcome=Outcome.STOPPED))
        assert search.trials[0].state == TrialState.WAITING
    assert search.trials[0].facts.failed_attempts is None
    assert not search.finished


def test_the_number_of_attempts_survives_the_driver(url, spec, paths, space, terms):
    for state in (TrialState.WAITING, TrialState.WAITING, TrialState.FAIL):
        with driven(url, spec, paths) as study:
            search = Search(study, space, paths, terms)
            search.report(search.suggest().trial, LOST)
            study.flush(10)
        assert stored(url)[0].state == state


def test_causes_are_in_the_record_of_the_trial(url, spec, paths, space, terms):
    with driven(url, spec, paths) as study:
        attempts(Search(study, space, paths, terms), LOST)
    noted = stored(url)[0].user_attrs
    cause = "the trainer was killed by SIGKILL"
    assert (noted["failure"], noted["reason"]) == ("infrastructure", f"infrastructure: {cause}")
    assert noted["setbacks"] == [{"failure": "infrastructure", "epoch": 0, "cause": cause}] * 3
    assert noted["attempts"] == 3


@pytest.mark.parametrize(("end", "reason"), [(BUG, "error: no such file"), (HUNG, f"hung: {HUNG.message}")])
def test_a_failed_trial_names_the_kind_of_its_failure(search, end, reason):
    attempts(search, end)
    assert search.trials[0].reason == reason


def test_each_retry_is_reported(study, space, paths, terms):
    told = []
    attempts(Search(study, space, paths, terms, on_event=told.append), HUNG)
    assert told == [
        f"trial 0 resumes from its last checkpoint: {HUNG.message}",
        f"trial 0 fail: hung: {HUNG.message}",
    ]


def test_the_weights_of_a_trial_that_can_never_resume_are_removed_and_others_are_kept(search, paths):
    weights = [paths.trial(number) / "weights" / "last.pt" for number in range(4)]
    requests = [search.suggest() for _ in weights]
    for file in weights:
        file.parent.mkdir(parents=True)
        file.touch()
    play(search, requests[0], 0.1, 0.25)
    search.report(1, BUG)
    search.report(2, LOST)
    search.report(3, EndRecord(outcome=Outcome.OUT_OF_MEMORY, message="why"))
    assert [file.exists() for file in weights] == [True, False, True, False]


# The whole search


def failing(search, number, message="no such file", **more):
    for index in range(number):
        end = EndRecord(outcome=Outcome.ERROR, message=message.format(index), **more)
        search.report(search.suggest().trial, end)


def test_three_trials_that_fail_with_the_same_error_before_any_value_end_the_search(search, paths):
    failing(search, 2, "no such file: image {}.jpg")
    assert not search.finished
    failing(search, 1, "no such file: image 4711.jpg")
    assert search.finished
    assert search.suggest() is None
    assert isinstance(search.problem, FailurePolicyError)
    assert str(search.problem) == (
        "The search stopped: the first 3 trials failed with the same error: error: no such file: image 4711.jpg. "
        f"Logs: {paths.root / 'trials'}"
    )


def test_trials_that_fail_with_different_errors_do_not_end_the_search(search):
    for message in ("no such file", "no space left", "division by zero", "no such file"):
        failing(search, 1, message)
    assert search.problem is None


def test_trials_that_fail_with_the_same_error_after_a_value_do_not_end_the_search(search):
    search.report(search.suggest().trial, epoch(3, 0.1))
    failing(search, 3)
    assert search.problem is None
    assert not search.finished


def lose_three_attempts(search, *, epochs=0):
    request = search.suggest()
    for attempt in range(3):
        for number in range(1, epochs + 1):
            search.report(request.trial, epoch(number))
        search.report(request.trial, LOST)
        if attempt < 2:
            search.suggest()


def test_three_trials_in_a_row_that_are_lost_end_the_search_at_any_time(search):
    play(search, search.suggest(), 0.1, 0.25)
    for _ in range(2):
        lose_three_attempts(search)
    assert not search.finished
    lose_three_attempts(search)
    assert isinstance(search.problem, FailurePolicyError)
    assert "3 trials in a row were lost without training an epoch: infrastructure:" in str(search.problem)


def test_hung_trials_count_as_lost(search):
    play(search, search.suggest(), 0.1, 0.25)
    for _ in range(3):
        attempts(search, HUNG)
    assert isinstance(search.problem, FailurePolicyError)


def test_an_epoch_between_lost_trials_restarts_the_count(search):
    play(search, search.suggest(), 0.1, 0.25)
    for _ in range(2):
        lose_three_attempts(search)
    search.report(search.suggest().trial, epoch(1))
    for _ in range(2):
        lose_three_attempts(search)
    assert search.problem is None


def test_epochs_that_lost_trials_repeat_do_not_restart_the_count(url, spec, paths, space, terms):
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        for number in [search.suggest().trial for _ in range(3)]:
            search.report(number, epoch(3, 0.5))
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        for _ in range(3):
            lose_three_attempts(search, epochs=3)
        assert isinstance(search.problem, FailurePolicyError)


def test_bugs_between_lost_trials_do_not_hide_that_they_are_in_a_row(search):
    play(search, search.suggest(), 0.1, 0.25)
    lose_three_attempts(search)
    failing(search, 1)
    lose_three_attempts(search)
    lose_three_attempts(search)
    assert isinstance(search.problem, FailurePolicyError)
