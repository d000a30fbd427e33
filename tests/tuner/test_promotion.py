"""Which trial is trained in full, with what, and what is noted of it."""

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import epoch, play
from tuner.contract import EndRecord, Outcome
from tuner.exceptions import NoTrialSucceeded
from tuner.promotion import PromotedRun, choose_winner, full_run_request
from tuner.study import Study

METRICS = {"mAP50-95": 0.4, "mAP50": 0.6, "precision": 0.7, "recall": 0.5}


def fail(search, message="no such file"):
    search.hear(search.propose().trial, EndRecord(outcome=Outcome.ERROR, message=message))


def diverge(search):
    search.hear(search.propose().trial, EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN"))


@pytest.fixture
def request_(study, paths, winner):
    return full_run_request(study, paths, winner, epochs=20, gpus=0, threads=4)


@pytest.fixture
def promoted(study, request_):
    return PromotedRun(study, request_)


# The winner


def test_the_winner_is_the_best_complete_trial_beside_the_baseline(winner):
    assert (winner.trial.number, winner.baseline.number) == (1, 0)
    assert winner.gain == pytest.approx(0.05)


def test_a_higher_figure_of_a_trial_that_was_stopped_early_does_not_win(study, search):
    play(search, search.propose(), 0.1, 0.25)
    request = search.propose()
    search.hear(request.trial, epoch(3, 0.9))
    search.hear(request.trial, EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN"))
    assert choose_winner(study).trial.number == 0


def test_a_baseline_that_wins_gains_nothing(study, search):
    play(search, search.propose(), 0.1, 0.25)
    winner = choose_winner(study)
    assert winner.trial.is_baseline
    assert winner.gain == 0


def test_without_a_baseline_that_ran_to_its_end_there_is_no_gain(study, search):
    fail(search)
    play(search, search.propose(), 0.1, 0.3)
    winner = choose_winner(study)
    assert (winner.trial.number, winner.baseline, winner.gain) == (1, None, None)


def test_without_a_complete_trial_it_is_told_what_became_of_them(study, search):
    diverge(search)
    fail(search, "no such file")
    fail(search, "no space left")
    fail(search, "no such file")
    with pytest.raises(NoTrialSucceeded) as caught:
        choose_winner(study)
    assert str(caught.value) == (
        "No trial of 's' ran to its end: 1 stopped early, 3 failed; most often 'error: no such file'."
    )


def test_without_any_trial_there_is_no_cause_to_tell(study):
    with pytest.raises(NoTrialSucceeded, match=r"^No trial of 's' ran to its end: 0 stopped early, 0 failed\.$"):
        choose_winner(study)


# The full run


def test_the_full_run_has_the_winners_parameters_and_a_schedule_of_its_own(request_, winner, paths):
    assert request_.params == winner.trial.params
    assert request_.trial == 1
    assert (request_.epochs, request_.stop_epoch) == (20, 20)
    assert request_.validation_epochs == tuple(range(1, 21))
    assert request_.full
    assert request_.directory == str(paths.root / "promoted" / "trial-0001-20-epochs")


def test_the_full_run_has_model_data_and_seed_of_the_study(request_, spec):
    assert (request_.study, request_.model, request_.data) == ("s", spec.model_source, spec.data_source)
    assert (request_.seed, request_.threads) == (spec.seed, 4)


@pytest.mark.parametrize(("gpus", "devices"), [(0, ()), (1, (0,)), (4, (0, 1, 2, 3))])
def test_the_full_run_takes_as_many_gpus_as_it_is_given(study, paths, winner, gpus, devices):
    assert full_run_request(study, paths, winner, epochs=20, gpus=gpus, threads=1).devices == devices


def test_the_same_promotion_again_goes_on_in_its_folder_and_another_one_does_not(study, paths, winner):
    def folder(epochs):
        return full_run_request(study, paths, winner, epochs=epochs, gpus=0, threads=1).directory

    assert folder(20) == folder(20)
    assert folder(20) != folder(30)


# What is noted of it


def test_a_run_that_begins_is_noted_where_a_later_command_finds_it(study, promoted, request_, url):
    study.flush(10)
    assert Study.open(url, "s").promotion == {
        "trial": 1,
        "epochs": 20,
        "directory": request_.directory,
        "state": "RUNNING",
        "gpus": 0,
    }


def test_a_run_to_the_end_is_noted_with_its_weights_and_figures(study, promoted):
    promoted.end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="best.pt", log="trainer.log"))
    noted = study.promotion
    assert noted["state"] == TrialState.COMPLETE.name
    assert (noted["metrics"], noted["checkpoint"], noted["log"]) == (METRICS, "best.pt", "trainer.log")


def test_a_run_that_was_stopped_waits_to_go_on(study, promoted):
    promoted.end(EndRecord(outcome=Outcome.STOPPED))
    assert study.promotion["state"] == "WAITING"
    assert "reason" not in study.promotion


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.OUT_OF_MEMORY, Outcome.DIVERGED])
def test_any_other_end_is_a_failure_with_its_cause(study, promoted, outcome):
    promoted.end(EndRecord(outcome=outcome, message="why", log="trainer.log"))
    noted = study.promotion
    assert (noted["state"], noted["reason"], noted["log"]) == ("FAIL", f"{outcome.value}: why", "trainer.log")


def test_a_run_that_goes_well_after_a_failure_has_no_reason(study, promoted, request_):
    promoted.end(EndRecord(outcome=Outcome.ERROR, message="no space left"))
    PromotedRun(study, request_).end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="best.pt"))
    assert study.promotion["state"] == "COMPLETE"
    assert "reason" not in study.promotion


def test_another_run_does_not_show_the_figures_of_the_one_before(study, paths, winner, promoted):
    promoted.end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="best.pt"))
    PromotedRun(study, full_run_request(study, paths, winner, epochs=30, gpus=0, threads=4))
    assert study.promotion["epochs"] == 30
    assert "metrics" not in study.promotion


def test_the_latest_epoch_and_the_best_figure_are_kept(promoted):
    assert (promoted.latest, promoted.best) == (None, None)
    for number, value in ((1, 0.2), (2, 0.4), (3, None), (4, 0.3)):
        promoted.hear(epoch(number, value))
    assert (promoted.latest.epoch, promoted.best) == (4, 0.4)
