"""Choose the trial for the final run, and record the run."""

import dataclasses
from types import SimpleNamespace

import pytest
from optuna.trial import TrialState

from tests.tuner.conftest import epoch, play
from tuner.comparison.contest import Conclusion, Verdict
from tuner.contract import EndRecord, Outcome
from tuner.exceptions import FailurePolicyError, NoSuccessfulTrialError
from tuner.study import FinalRunFacts, StoredStudy, TrialRecord
from tuner.training.final_run import (
    FinalRun,
    Winner,
    choose_winner,
    full_run_request,
    require_something_learnt,
    standing,
)

METRICS = {"mAP50-95": 0.4, "mAP50": 0.6, "precision": 0.7, "recall": 0.5}


CAUSES = (
    "likely causes: labels that are not found or have other classes, a wrong data path, a validation split without "
    "objects, or too few epochs for the metric to rise above 0"
)


def fail(search, message="no such file"):
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.ERROR, message=message))


def diverge(search):
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN"))


@pytest.fixture
def request_(study, paths, winner):
    return full_run_request(study, paths, winner, epochs=20, gpus=0, threads=4)


@pytest.fixture
def promoted(study, request_):
    return FinalRun(study, request_)


# The winner


def test_the_winner_is_the_best_complete_trial_including_the_baseline(winner):
    assert (winner.trial.number, winner.baseline.number) == (1, 0)
    assert winner.gain == pytest.approx(0.05)


def test_a_higher_value_of_a_trial_that_was_stopped_early_does_not_win(study, search):
    play(search, search.suggest(), 0.1, 0.25)
    request = search.suggest()
    search.report(request.trial, epoch(3, 0.9))
    search.report(request.trial, EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN"))
    assert choose_winner(study).trial.number == 0


def test_a_baseline_that_wins_has_no_gain(study, search):
    play(search, search.suggest(), 0.1, 0.25)
    winner = choose_winner(study)
    assert winner.trial.is_baseline
    assert winner.gain == 0


def test_without_a_baseline_that_ran_to_its_end_there_is_no_gain(study, search):
    fail(search)
    play(search, search.suggest(), 0.1, 0.3)
    winner = choose_winner(study)
    assert (winner.trial.number, winner.baseline, winner.gain) == (1, None, None)


def test_without_a_complete_trial_the_states_of_all_trials_are_reported(study, search):
    diverge(search)
    fail(search, "no such file")
    fail(search, "no space left")
    fail(search, "no such file")
    with pytest.raises(NoSuccessfulTrialError) as caught:
        choose_winner(study)
    assert str(caught.value) == (
        "No trial of 's' is complete: 1 stopped early, 3 failed; most common failure: 'error: no such file'."
    )


def test_without_any_trial_no_cause_is_reported(study):
    with pytest.raises(
        NoSuccessfulTrialError, match=r"^No trial of 's' has started yet; the command that started the study "
    ):
        choose_winner(study)


def interrupted(search, *, cut_off, paused=0):
    """Leave waiting trials: cut off during training, or paused at the rung."""
    begun = [search.suggest().trial for _ in range(cut_off + paused)]
    for number in begun[:cut_off]:
        search.report(number, epoch(1))
        search.requeue(number)
    for number in begun[cut_off:]:
        search.study.pause(number, 3, 0.2)


@pytest.mark.parametrize(
    ("cut_off", "paused", "told"),
    [
        (2, 0, "2 wait to resume"),
        (1, 1, "1 waits to resume, 1 waits at a rung"),
        (0, 3, "3 wait at a rung"),
    ],
)
def test_an_interrupted_study_reports_waiting_trials_and_how_to_resume(study, search, cut_off, paused, told):
    interrupted(search, cut_off=cut_off, paused=paused)
    with pytest.raises(NoSuccessfulTrialError) as caught:
        choose_winner(study)
    assert str(caught.value) == (
        f"No trial of 's' is complete yet: {told}; the command that started the study continues it."
    )


def test_running_trials_are_reported_with_waiting_and_failed_ones(study, search):
    diverge(search)
    interrupted(search, cut_off=1)
    search.suggest()  # the one that was cut off
    search.suggest()
    with pytest.raises(NoSuccessfulTrialError, match=r"is complete yet: 2 are training, 1 stopped early; the command"):
        choose_winner(study)


# Nothing to promote


@pytest.mark.parametrize("values", [[0.0], [0.0] * 6, [0.0, 0.00004]], ids=["one trial", "six", "shown as 0.0000"])
def test_a_search_whose_best_value_is_zero_has_nothing_to_promote(study, search, paths, values):
    for value in values:
        play(search, search.suggest(), 0.0, value)
    with pytest.raises(FailurePolicyError) as caught:
        require_something_learnt(study, paths)
    assert caught.value.exit_code == 7
    assert str(caught.value).startswith("Nothing was learnt, so there is no final run: the best mAP50-95 of the ")
    assert CAUSES in str(caught.value)
    assert choose_winner(study).said().startswith("Nothing was learnt in the search: the best mAP50-95 of the ")


def test_a_search_of_two_configurations_with_one_value_has_nothing_to_promote(study, search, paths):
    for _ in range(2):
        play(search, search.suggest(), 0.2, 0.3)
    with pytest.raises(
        FailurePolicyError, match=r"2 different configurations all have the same mAP50-95, 0\.3; likely"
    ):
        require_something_learnt(study, paths)


@pytest.mark.parametrize(
    "ends",
    [[(0.2, 0.3)], [(0.2, 0.3), (0.1, 0.3)], [(0.2, 0.3), (0.1, 0.2)], [(0.9, 0.995), (0.9, 0.995)]],
    ids=["one trial", "other at the rung", "other at the end", "at the ceiling"],
)
def test_a_search_that_learnt_something_is_promoted(study, search, paths, ends):
    for at_rung, at_end in ends:
        play(search, search.suggest(), at_rung, at_end)
    require_something_learnt(study, paths)
    assert "learnt" not in choose_winner(study).said()


def test_equal_values_with_a_diverged_trial_show_an_effect(study, search, paths):
    diverge(search)
    for _ in range(2):
        play(search, search.suggest(), 0.2, 0.3)
    require_something_learnt(study, paths)


def test_before_a_complete_trial_the_search_is_not_judged(study, search, paths):
    fail(search)
    require_something_learnt(study, paths)


# State of a search


def stands(*values):
    """Make a study of complete trials with these values; None for a failed one."""
    trials = [
        TrialRecord(
            number=number,
            state=TrialState.FAIL if value is None else TrialState.COMPLETE,
            value=value,
            curve={},
            sampled={},
            params={},
            reason="",
        )
        for number, value in enumerate(values)
    ]
    spec = SimpleNamespace(metric="mAP50-95")
    return SimpleNamespace(name="s", spec=spec, trials=lambda: tuple(trials), reevaluation={})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((), "no trial is complete yet"),
        ((None,), "no trial is complete yet"),
        ((0.3, 0.2), "best 0.3000 (trial 0, the default configuration)"),
        (
            (0.25, 0.3),
            "best 0.3000 (trial 1), 0.0500 ahead of the default configuration on one seed, which does not prove a gain",
        ),
        ((None, 0.3), "best 0.3000 (trial 1)"),
        ((0.0, 0.0), f"nothing was learnt: the best mAP50-95 of the 2 complete trials is 0; {CAUSES}"),
    ],
    ids=["no trials", "none complete", "baseline best", "lead", "no baseline", "zeros"],
)
def test_before_a_verdict_a_lead_is_reported_as_unproven(values, told):
    assert standing(stands(*values)) == told


def judged(better, lead, *, leader=1):
    """Return a winner with its verdict."""
    study = stands(0.25, 0.3, 0.28)
    verdict = Verdict(
        conclusion=Conclusion.BETTER if better else Conclusion.NOT_SHOWN,
        decided=True,
        winner=leader if lead > 0 else 0,
        leader=leader,
        gain=lead,
        interval=(lead - 0.1, lead + 0.1),
        p_value=0.5,
        seeds=3,
        runs=6,
        results=(),
        statement="What the runs show.",
    )
    return Winner(trial=study.trials()[verdict.winner], baseline=study.trials()[0], verdict=verdict)


@pytest.mark.parametrize(
    ("winner", "told"),
    [
        (judged(True, 0.04), "What the runs show."),
        (judged(False, 0.01), "What the runs show. Trial 1 is still chosen: its lead is above zero."),
        (judged(False, -0.01), "What the runs show. The default configuration is kept."),
        (judged(False, 0.01, leader=2), "What the runs show. Trial 2 is still chosen: its lead is above zero."),
    ],
)
def test_without_a_proven_gain_the_choice_and_its_reason_are_shown(winner, told):
    assert winner.said() == told


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


def test_the_full_run_shares_decoded_images_with_the_search(study, paths, winner):
    request = full_run_request(study, paths, winner, epochs=20, gpus=0, threads=1, image_cache_bytes=2**30)
    assert request.image_cache_bytes == 2**30


@pytest.mark.parametrize(("asked", "trained"), [(None, True), (True, True), (False, False)])
def test_the_full_run_is_deterministic_as_asked_or_else_as_its_trial(study, paths, winner, asked, trained):
    request = full_run_request(study, paths, winner, epochs=20, gpus=0, threads=1, deterministic=asked)
    assert request.params.get("deterministic", True) == trained
    trial = dataclasses.replace(winner.trial, params={**winner.trial.params, "deterministic": False})
    fast = dataclasses.replace(winner, trial=trial)
    request = full_run_request(study, paths, fast, epochs=20, gpus=0, threads=1, deterministic=asked)
    assert request.params["deterministic"] == bool(asked)


def test_the_same_promotion_again_resumes_in_its_folder_and_a_different_one_does_not(study, paths, winner):
    def folder(epochs):
        return full_run_request(study, paths, winner, epochs=epochs, gpus=0, threads=1).directory

    assert folder(20) == folder(20)
    assert folder(20) != folder(30)


# What is recorded


def test_the_start_of_a_run_is_recorded_for_later_commands(study, promoted, request_, url, paths):
    study.flush(10)
    assert StoredStudy.open(url, "s", paths.root).final_run == FinalRunFacts(
        trial=1, epochs=20, directory=request_.directory, state="RUNNING", gpus=0
    )


def test_a_complete_run_is_recorded_with_its_weights_and_values(study, promoted):
    promoted.end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="best.pt", log="trainer.log"))
    noted = study.final_run
    assert noted.state == TrialState.COMPLETE.name
    assert (noted.metrics, noted.checkpoint, noted.log) == (METRICS, "best.pt", "trainer.log")


def test_a_stopped_run_waits_to_be_resumed(study, promoted):
    promoted.end(EndRecord(outcome=Outcome.STOPPED))
    assert study.final_run.state == "WAITING"
    assert study.final_run.reason == ""


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.OUT_OF_MEMORY, Outcome.DIVERGED])
def test_any_other_end_is_a_failure_with_its_cause(study, promoted, outcome):
    promoted.end(EndRecord(outcome=outcome, message="why", log="trainer.log"))
    noted = study.final_run
    assert (noted.state, noted.reason, noted.log) == ("FAIL", f"{outcome.value}: why", "trainer.log")


def test_a_run_that_succeeds_after_a_failure_has_no_reason(study, promoted, request_):
    promoted.end(EndRecord(outcome=Outcome.ERROR, message="no space left"))
    FinalRun(study, request_).end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="best.pt"))
    assert study.final_run.state == "COMPLETE"
    assert study.final_run.reason == ""


def test_another_run_does_not_show_the_values_of_the_one_before(study, paths, winner, promoted):
    promoted.end(EndRecord(outcome=Outcome.COMPLETED, metrics=METRICS, checkpoint="best.pt"))
    FinalRun(study, full_run_request(study, paths, winner, epochs=30, gpus=0, threads=4))
    assert study.final_run.epochs == 30
    assert study.final_run.metrics is None


def test_the_latest_epoch_and_the_best_value_are_kept(promoted):
    assert (promoted.latest, promoted.best) == (None, None)
    for number, value in ((1, 0.2), (2, 0.4), (3, None), (4, 0.3)):
        promoted.report(epoch(number, value))
    assert (promoted.latest.epoch, promoted.best) == (4, 0.4)
