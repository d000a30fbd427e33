"""Compare the best of a search with the default configuration, on seeds that the search has not used."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.tuner.conftest import driven, epoch, play
from tuner.comparison.contest import ComparisonPlan, Conclusion
from tuner.comparison.record import EndedRun, Reevaluated, reevaluated
from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.comparison.verdict import verdict
from tuner.contract import WEIGHTS, EndRecord, Outcome, StartedRecord
from tuner.exceptions import DataError, FailurePolicyError
from tuner.search.search import Search
from tuner.study import StoredStudy
from tuner.training.final_run import choose_winner
from tuner.trials.workload import Decision

NOISE = {1: 0.01, 2: -0.02, 3: 0.005, 4: 0.0, 5: -0.01, 6: 0.015}
"""Effect of a seed on the metric of every run with it."""


def searched(search, *values):
    """Run trials to their end with these values, the default configuration first."""
    for value in values:
        play(search, search.suggest(), 0.1, value)


@pytest.fixture
def reevaluation(study, search, paths, terms):
    """Return a re-evaluation of three candidates with at most 14 runs. Trial 3 was the best."""
    searched(search, 0.3, 0.35, 0.33, 0.4)
    plan = plan_for(study, 14)
    return Reevaluation(study, plan, paths, terms, slots=4)


def train(reevaluation, request, value):
    """Train a run to its end, or until it has to stop."""
    number = reevaluation.number_of(request)
    reevaluation.report(number, StartedRecord(pid=1, device="CPU"))
    for at in range(1, 10):
        decision = reevaluation.report(number, epoch(at, value if at == 9 else None))
        if decision == Decision.STOP:
            reevaluation.requeue(number)
            return decision
    return reevaluation.report(number, EndRecord(outcome=Outcome.COMPLETED))


def true_value(request, gains):
    return 0.3 + gains.get(request.trial, 0.0) + NOISE[request.seed] * (1 if request.trial else 0.5)


def carry_out(reevaluation, gains):
    """Carry out all runs, one after the other. Return trial and seed of each, in order."""
    trained = []
    while (request := reevaluation.suggest()) is not None:
        trained.append((request.trial, request.seed))
        train(reevaluation, request, true_value(request, gains))
    return trained


# Candidates


def test_the_best_three_and_the_baseline_meet_on_seeds_that_the_search_has_not_used(study, search):
    searched(search, 0.3, 0.35, 0.33, 0.4, 0.31)
    plan = plan_for(study, 14)
    assert (plan.baseline, plan.candidates) == (0, (3, 1, 2))
    assert plan.max_runs == 14
    assert study.spec.seed not in plan.seeds


def test_a_configuration_that_was_no_better_in_the_search_does_not_take_part(study, search):
    searched(search, 0.3, 0.35, 0.3, 0.2)
    assert plan_for(study, 14).candidates == (1,)


@pytest.mark.parametrize("values", [(0.3,), (0.3, 0.2, 0.3)])
def test_nothing_is_compared_if_nothing_was_better(study, search, values):
    searched(search, *values)
    assert plan_for(study, 14) is None


def test_nothing_is_compared_if_the_default_configuration_did_not_run_to_its_end(study, search):
    search.report(search.suggest().trial, EndRecord(outcome=Outcome.DIVERGED, message="NaN"))
    searched(search, 0.35)
    assert plan_for(study, 14) is None


def test_nothing_is_compared_unless_requested(study, search):
    searched(search, 0.3, 0.35)
    assert plan_for(study, 0) is None


@pytest.mark.parametrize(("trained", "runs"), [(9, 6), (9 * 24, 6), (9 * 30, 7), (9 * 1000, 20)])
def test_by_default_a_quarter_of_the_search_but_6_to_20_runs_are_compared(study, search, trained, runs):
    searched(search, 0.3, 0.35)
    baseline, better = study.trials()
    longer = replace(better, facts=replace(better.facts, epochs=trained - 9))
    known = SimpleNamespace(trials=lambda: (baseline, longer), spec=study.spec, reevaluation={})
    assert plan_for(known).max_runs == runs


# The runs


def test_a_run_is_the_trial_again_on_its_whole_schedule_with_another_seed(reevaluation, study, paths, search):
    request = reevaluation.suggest()
    assert request.params == dict(search.trials[request.trial].params)
    assert (request.epochs, request.stop_epoch, request.validation_epochs) == (9, 9, (9,))
    assert request.seed in reevaluation.known.plan.seeds
    assert request.directory == str(paths.reevaluated(request.trial, request.seed))


def test_free_slots_get_different_runs_and_none_more_than_are_needed(reevaluation):
    requests = [reevaluation.suggest() for _ in range(13)]
    asked = [(r.trial, r.seed) for r in requests if r is not None]
    assert len(asked) == len(set(asked)) == 12  # three seeds of four configurations
    assert requests[-1] is None
    assert not reevaluation.finished


def test_a_run_to_avoid_comes_after_the_others(reevaluation):
    first = reevaluation.suggest()
    number = reevaluation.number_of(first)
    reevaluation.requeue(number)
    second = reevaluation.suggest(avoided={number})
    assert reevaluation.number_of(second) != number
    assert reevaluation.suggest() == first


def test_a_run_to_avoid_is_suggested_if_no_other_is_needed(reevaluation):
    numbers = range(len(reevaluation.known.plan.runs))
    assert reevaluation.suggest(avoided=numbers) == reevaluation._request(reevaluation.known.plan.runs[0])


def test_a_gain_on_all_seeds_is_called_better_and_that_trial_is_the_winner(reevaluation, study):
    carry_out(reevaluation, {3: 0.1, 1: 0.02, 2: 0.0})
    winner = choose_winner(study)
    assert (winner.trial.number, winner.verdict.conclusion) == (3, Conclusion.BETTER)
    assert winner.said().startswith("Trial 3 is better than the baseline by 0.09917, 95 % interval")


def test_a_gain_that_does_not_recur_makes_the_default_configuration_the_winner(reevaluation, study):
    carry_out(reevaluation, {3: -0.1, 1: -0.05, 2: -0.2})
    winner = choose_winner(study)
    assert (winner.trial.number, winner.verdict.conclusion) == (0, Conclusion.NOT_SHOWN)
    assert "No gain over the default was shown" in winner.said()


def test_no_more_runs_than_allowed_are_trained(reevaluation):
    trained = carry_out(reevaluation, {3: 0.01, 1: 0.009, 2: 0.008})
    assert len(trained) == len(set(trained)) <= 14
    assert reevaluation.finished


def test_its_runs_share_decoded_images_with_the_search(study, search, paths, terms):
    searched(search, 0.3, 0.35, 0.33, 0.4)
    sharing = replace(terms, image_cache_bytes=2**30)
    assert Reevaluation(study, plan_for(study, 20), paths, sharing, slots=4).suggest().image_cache_bytes == 2**30


def test_runs_that_train_ahead_stop_once_the_verdict_is_reached(study, search, paths, terms):
    searched(search, 0.3, 0.35)
    reevaluation = Reevaluation(study, plan_for(study, 20), paths, terms, slots=8)
    leads = {1: 0.02, 2: -0.005, 3: 0.03}
    for request in [reevaluation.suggest() for _ in range(6)]:
        train(reevaluation, request, 0.3 + request.trial * leads[request.seed])
    later = [request for request in (reevaluation.suggest() for _ in range(9)) if request is not None]
    assert [(r.trial, r.seed) for r in later] == [(trial, seed) for seed in (4, 5, 6, 7) for trial in (0, 1)]
    for request in later[:2]:
        train(reevaluation, request, 0.3 - request.trial * 0.1)  # no longer worth continuing
    assert reevaluation.finished
    assert len(reevaluation.live) == 6
    for number in reevaluation.live:
        assert reevaluation.report(number, epoch(1)) == Decision.STOP


@pytest.mark.parametrize(
    "end",
    [
        EndRecord(outcome=Outcome.DIVERGED, message="NaN in batch 7"),
        EndRecord(outcome=Outcome.OUT_OF_MEMORY, message="no room"),
        EndRecord(outcome=Outcome.ERROR, message="a bug"),
        EndRecord(outcome=Outcome.COMPLETED),  # without a value
    ],
)
def test_a_candidate_that_fails_on_a_seed_cannot_win(reevaluation, study, end):
    gains = {3: 0.2, 1: 0.1, 2: 0.0}
    while (request := reevaluation.suggest()) is not None:
        if request.trial == 3:
            reevaluation.report(reevaluation.number_of(request), end)
        else:
            train(reevaluation, request, true_value(request, gains))
    assert choose_winner(study).trial.number == 1
    failed = next(run for run in reevaluated(study).runs if run.trial == 3)
    assert failed.value is None
    assert failed.reason


@pytest.mark.parametrize("record", [epoch(2, box=math.nan), epoch(9, math.nan), epoch(3, box=99.0)])
def test_a_run_that_diverges_ends_at_that_report(reevaluation, record):
    number = reevaluation.number_of(reevaluation.suggest())
    reevaluation.report(number, epoch(1))
    assert reevaluation.report(number, record) == Decision.STOP
    assert reevaluation.known.runs[0].reason.startswith("diverged: ")


# Lost machines


def test_a_run_whose_machine_is_lost_is_asked_for_again(reevaluation):
    request = reevaluation.suggest()
    reevaluation.on_lost(reevaluation.number_of(request), "gone")
    assert reevaluation.suggest() == request
    assert reevaluation.known.runs == ()


def test_preempted_runs_do_not_count_as_failures(reevaluation):
    for _ in range(10):
        request = reevaluation.suggest()
        reevaluation.report(reevaluation.number_of(request), EndRecord(outcome=Outcome.STOPPED))
    assert not reevaluation.finished


def test_a_run_that_is_lost_repeatedly_ends_the_comparison_and_is_not_held_against_its_configuration(reevaluation):
    for _ in range(3):
        request = reevaluation.suggest()
        reevaluation.on_lost(reevaluation.number_of(request), "gone")
    assert isinstance(reevaluation.problem, FailurePolicyError)
    assert "failed 3 times: gone" in str(reevaluation.problem)
    assert reevaluation.known.runs == ()
    assert reevaluation.suggest() is None


def test_a_run_that_is_lost_before_it_repeats_its_epochs_has_made_no_progress(reevaluation):
    request = reevaluation.suggest()
    reevaluation.report(reevaluation.number_of(request), epoch(1))
    for _ in range(3):
        assert reevaluation.problem is None
        reevaluation.on_lost(reevaluation.number_of(request), "gone")
        reevaluation.suggest()
    assert isinstance(reevaluation.problem, FailurePolicyError)


def test_a_full_disk_that_ends_the_comparison_is_not_held_against_a_run(reevaluation):
    request = reevaluation.suggest()
    reevaluation.stop("no room")
    full = EndRecord(outcome=Outcome.ERROR, message="no space left", retryable=True)
    assert reevaluation.report(reevaluation.number_of(request), full) == Decision.STOP
    assert not reevaluation.live
    assert reevaluation.problem is None


def test_the_time_of_the_slowest_epoch_is_known(reevaluation):
    assert reevaluation.epoch_seconds() == 0
    request = reevaluation.suggest()
    reevaluation.report(reevaluation.number_of(request), epoch(1))
    assert reevaluation.epoch_seconds() == 2.0


def test_weights_of_ended_runs_are_removed_and_those_of_unfinished_ones_stay(reevaluation, paths):
    ended, unfinished = reevaluation.suggest(), reevaluation.suggest()
    folders = [paths.reevaluated(r.trial, r.seed) / WEIGHTS for r in (ended, unfinished)]
    for folder in folders:
        folder.mkdir(parents=True)
    train(reevaluation, ended, 0.3)
    reevaluation.requeue(reevaluation.number_of(unfinished))
    reevaluation.close()
    assert [folder.exists() for folder in folders] == [False, True]


def test_no_weights_stay_after_the_verdict(reevaluation, paths):
    request = reevaluation.suggest()
    weights = paths.reevaluated(request.trial, request.seed) / WEIGHTS
    weights.mkdir(parents=True)
    reevaluation.requeue(reevaluation.number_of(request))
    while (request := reevaluation.suggest()) is not None:
        reevaluation.report(reevaluation.number_of(request), EndRecord(outcome=Outcome.ERROR, message="a bug"))
    assert reevaluation.finished
    reevaluation.close()
    assert not weights.exists()


# What the database keeps


def test_another_driver_continues_and_trains_nothing_again(url, spec, space, paths, terms):
    gains = {3: 0.1, 1: 0.02, 2: 0.0}
    with driven(url, spec, paths) as study:
        searched(Search(study, space, paths, terms), 0.3, 0.35, 0.33, 0.4)
        reevaluation = Reevaluation(study, plan_for(study, 14), paths, terms, slots=1)
        trained = []
        for _ in range(5):
            request = reevaluation.suggest()
            train(reevaluation, request, true_value(request, gains))
            trained.append((request.trial, request.seed))
        reevaluation.suggest()  # cut off
    with driven(url, spec, paths) as study:
        reevaluation = Reevaluation(study, plan_for(study, 14), paths, terms, slots=1)
        assert [(run.trial, run.seed) for run in reevaluation.known.runs] == trained
        later = carry_out(reevaluation, gains)
        assert not set(later) & set(trained)
        assert choose_winner(study).verdict.conclusion == Conclusion.BETTER
    with driven(url, spec, paths) as study:
        assert Reevaluation(study, plan_for(study, 14), paths, terms, slots=1).finished


UNEVEN = {(t, seed): 0.32 + 0.02 * seed if t else 0.3 for t in (0, 1, 2, 3) for seed in (1, 2, 3)}
"""Runs on three seeds that an earlier version called better, because it did not check for uneven noise."""


def stored_by_an_earlier_version(study, *, decided):
    """Store uneven runs of trials 3, 1 and 2 as an earlier version did, before or after its verdict."""
    plan = plan_for(study, 14)
    runs = tuple(EndedRun(trial=trial, seed=seed, value=value) for (trial, seed), value in UNEVEN.items())
    known = Reevaluated(plan=plan, runs=runs)
    before = replace(verdict(plan, known.evidence), conclusion=Conclusion.BETTER, decided=True, statement="Better.")
    study.record_reevaluation(replace(known, verdict=before if decided else None).encoded())
    return plan, before


def test_a_verdict_that_an_earlier_rule_reached_stands(study, search, paths, terms):
    searched(search, 0.3, 0.35, 0.33, 0.4)
    plan, before = stored_by_an_earlier_version(study, decided=True)
    reevaluation = Reevaluation(study, plan, paths, terms, slots=1)
    assert reevaluation.finished
    assert reevaluation.verdict == choose_winner(study).verdict == before


def test_a_comparison_that_an_earlier_rule_would_have_ended_continues_by_the_current_rule(study, search, paths, terms):
    searched(search, 0.3, 0.35, 0.33, 0.4)
    plan, _ = stored_by_an_earlier_version(study, decided=False)
    reevaluation = Reevaluation(study, plan, paths, terms, slots=1)
    assert not reevaluation.finished
    assert carry_out(reevaluation, {}) == [(0, 4), (3, 4)]
    assert choose_winner(study).verdict.decided


def test_the_database_holds_plain_data_that_is_read_back_the_same(reevaluation, study, url):
    carry_out(reevaluation, {3: 0.1, 1: 0.02, 2: 0.0})
    study.flush(10)
    stored = StoredStudy.open(url, "s")
    assert json.loads(json.dumps(stored.reevaluation)) == stored.reevaluation
    assert reevaluated(stored) == reevaluated(study) == reevaluation.known
    assert choose_winner(stored).verdict == choose_winner(study).verdict


def test_the_names_in_the_database_are_those_that_older_studies_have(reevaluation, study):
    carry_out(reevaluation, {3: 0.1, 1: 0.02, 2: 0.0})
    facts = study.reevaluation
    assert list(facts) == ["contest", "runs", "verdict"]
    assert (facts["contest"]["candidates"], facts["contest"]["max_runs"]) == ([3, 1, 2], 14)
    assert facts["verdict"]["decision"] == "better"
    assert [each["trial"] for each in facts["verdict"]["standings"]] == [0, 3, 1, 2]


def test_nothing_is_known_before_the_comparison_begins(study):
    assert reevaluated(study) is None


def test_the_best_of_the_search_is_the_winner_until_the_verdict(reevaluation, study):
    train(reevaluation, reevaluation.suggest(), 0.3)
    winner = choose_winner(study)
    assert (winner.trial.number, winner.verdict) == (3, None)
    assert "on one seed, which does not prove a gain" in winner.said()


def test_a_search_that_continues_and_finds_better_is_compared_again_on_fresh_seeds(reevaluation, study, search):
    carry_out(reevaluation, {3: 0.1, 1: 0.02, 2: 0.0})
    before = reevaluation.known.plan
    assert plan_for(study, 14) == before
    searched(search, 0.5)
    winner = choose_winner(study)
    assert (winner.trial.number, winner.verdict) == (4, None)
    plan = plan_for(study, 14)
    assert plan.candidates == (4, 3, 1)
    assert not set(plan.seeds) & set(before.seeds)


def test_a_configuration_that_took_part_is_known_to_have():
    known = Reevaluated(plan=ComparisonPlan(baseline=0, candidates=(3, 1), seeds=(1, 2, 3), max_runs=9))
    assert [known.judges(trial) for trial in (0, 1, 2, 3)] == [True, True, False, True]


def test_unreadable_data_end_the_reevaluation_and_are_not_held_against_the_run(reevaluation):
    number = reevaluation.number_of(reevaluation.suggest())
    reevaluation.report(number, EndRecord(outcome=Outcome.BAD_DATA, message="7.jpg is gone"))
    assert isinstance(reevaluation.problem, DataError)
    assert "7.jpg is gone" in str(reevaluation.problem)
    assert reevaluation.known.runs == ()
    assert reevaluation.suggest() is None
