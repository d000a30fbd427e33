"""What a search proposes, and what it decides on what it hears."""

import math

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import epoch, play
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.search import Decision, Search


def states(search):
    return [trial.state.name for trial in search.trials]


def test_the_first_trial_is_the_baseline(search):
    assert search.propose().params["lr0"] == 0.01


def test_a_request_carries_the_whole_configuration_and_the_rungs(search, paths):
    request = search.propose()
    assert request.params == {"optimizer": "SGD", "batch": 16, "imgsz": 64, "lr0": 0.01}
    assert request.validation_epochs == (3, 9)
    assert (request.epochs, request.stop_epoch) == (9, 9)
    assert request.directory == str(paths.trial(0))


def test_as_many_trials_are_proposed_as_asked_for_and_no_more(search):
    for _ in range(6):
        play(search, search.propose(), 0.1, 0.2)
    assert search.finished
    assert search.propose() is None


def test_a_trial_that_reaches_the_last_epoch_is_complete_with_its_last_figure(search):
    play(search, search.propose(), 0.1, 0.25)
    trial = search.trials[0]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.25)
    assert trial.curve == {3: 0.1, 9: 0.25}


def test_what_ran_is_noted(search):
    play(search, search.propose(), 0.1, 0.25)
    noted = search.trials[0].attributes
    assert (noted["batch"], noted["epochs"], noted["device"]) == (16, 9, "CPU")
    assert noted["seconds"] == pytest.approx(18.0)


def test_a_weak_trial_is_pruned_at_its_rung_with_the_reason(search):
    for at_rung in (0.5, 0.4, 0.1):
        play(search, search.propose(), at_rung, 0.6)
    assert states(search) == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert search.trials[2].reason.startswith("early stop at epoch 3: 0.1000")


def test_the_baseline_is_never_stopped_early(study, space, paths, terms):
    search = Search(study, space, paths, terms)
    baseline = search.propose()
    others = [search.propose() for _ in range(3)]
    for request in others:
        search.hear(request.trial, epoch(3, 0.5))
    assert search.hear(baseline.trial, epoch(3, 0.0)) == Decision.CONTINUE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_ends_the_trial_at_once_even_the_baseline(search, value):
    request = search.propose()
    assert search.hear(request.trial, epoch(3, value)) == Decision.STOP
    assert search.trials[0].state == TrialState.PRUNED
    assert "diverged" in search.trials[0].reason


def test_a_loss_that_is_no_number_ends_the_trial_at_once(search):
    request = search.propose()
    assert search.hear(request.trial, epoch(1, box=math.nan)) == Decision.STOP
    assert search.trials[0].reason == "diverged: a loss is not finite at epoch 1"


def test_a_diverged_trial_is_pruned_with_where_it_happened(search):
    request = search.propose()
    search.hear(request.trial, EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN in epoch 1, batch 3"))
    trial = search.trials[0]
    assert trial.state == TrialState.PRUNED
    assert trial.reason == "diverged: the loss became NaN in epoch 1, batch 3"


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.OUT_OF_MEMORY, Outcome.BAD_DATA])
def test_an_error_fails_the_trial_with_its_cause(search, outcome):
    request = search.propose()
    search.hear(request.trial, EndRecord(outcome=outcome, message="why"))
    assert search.trials[0].state == TrialState.FAIL
    assert search.trials[0].reason == f"{outcome.value}: why"


def test_three_equal_failures_before_any_success_stop_the_search(search):
    for _ in range(3):
        search.hear(search.propose().trial, EndRecord(outcome=Outcome.ERROR, message="no such file"))
    assert search.finished
    assert search.failure_policy == "error: no such file"


def test_failures_after_a_success_do_not_stop_the_search(search):
    play(search, search.propose(), 0.1, 0.2)
    for _ in range(3):
        search.hear(search.propose().trial, EndRecord(outcome=Outcome.ERROR, message="no such file"))
    assert search.failure_policy is None
    assert not search.finished


def test_a_completed_run_without_a_figure_is_a_failure(search):
    request = search.propose()
    search.hear(request.trial, EndRecord(outcome=Outcome.COMPLETED))
    assert search.trials[0].state == TrialState.FAIL


def test_after_stop_every_trial_is_told_to_stop_and_nothing_is_proposed(search):
    request = search.propose()
    search.stop("stopped by SIGINT")
    assert search.propose() is None
    assert search.hear(request.trial, epoch(1)) == Decision.STOP


def test_a_trial_that_was_cut_off_waits_and_is_handed_out_again_under_its_number(search):
    first = search.propose()
    search.hear(first.trial, epoch(3, 0.3))
    search.release(first.trial)
    assert states(search) == ["WAITING"]
    again = search.propose()
    assert (again.trial, again.params) == (first.trial, first.params)


def test_a_restart_goes_on_with_what_a_killed_driver_left_running(study, space, paths, terms):
    killed = Search(study, space, paths, terms)
    first, second = killed.propose(), killed.propose()
    play(killed, first, 0.3, 0.4)
    killed.hear(second.trial, epoch(3, 0.2))

    search = Search(study, space, paths, terms)
    assert states(search) == ["COMPLETE", "WAITING"]
    again = search.propose()
    assert (again.trial, again.params) == (second.trial, second.params)


def test_a_restart_knows_the_rungs(study, space, paths, terms):
    killed = Search(study, space, paths, terms)
    for _ in range(2):
        play(killed, killed.propose(), 0.5, 0.6)
    search = Search(study, space, paths, terms)
    assert play(search, search.propose(), 0.1, 0.2) == Decision.STOP
    assert search.trials[2].state == TrialState.PRUNED


def test_what_a_resumed_trainer_repeats_changes_nothing(study, space, paths, terms):
    killed = Search(study, space, paths, terms)
    requests = [killed.propose() for _ in range(4)]
    for request, value in zip(requests, (0.5, 0.1, 0.6, 0.7), strict=True):
        killed.hear(request.trial, epoch(3, value))
    # Trial 1 passed its rung as the second to arrive; by now it would not be among the best third.
    search = Search(study, space, paths, terms)
    numbers = [search.propose().trial for _ in range(2)]
    assert numbers == [0, 1]
    assert search.hear(1, StartedRecord(pid=1, device="CPU")) == Decision.CONTINUE
    assert search.hear(1, epoch(3, 0.1)) == Decision.CONTINUE


def test_an_interrupted_search_proposes_what_an_uninterrupted_one_does(tmp_path, space, spec, terms):
    from tuner.paths import StudyPaths
    from tuner.study import Study

    def proposals(name, interrupted_after):
        paths = StudyPaths.of(tmp_path, name)
        paths.create()
        study = Study.open_or_create(f"sqlite:///{paths.database}", name, spec)
        search = Search(study, space, paths, terms)
        seen = []
        while (request := search.propose()) is not None:
            seen.append(request.params["lr0"])
            play(search, request, 0.1, 0.2)
            if len(seen) == interrupted_after:
                search = Search(study, space, paths, terms)
        return seen

    assert proposals("whole", 99) == proposals("cut", 3)


def test_events_are_told_in_one_line_each(study, space, paths, terms):
    told = []
    search = Search(study, space, paths, terms, on_event=told.append)
    play(search, search.propose(), 0.1, 0.25)
    assert told == ["trial 0 complete: mAP50-95 0.2500"]
