"""Propose trials, and decide on the records of running ones."""

import itertools
import math
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from tests.tuner.conftest import driven, epoch, locked, play, stored
from tests.tuner.study.test_changes import Kept, in_memory
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.search.search import Search
from tuner.space import parse_space
from tuner.storage.lease import study_lease
from tuner.study import StudyPaths, driven_study
from tuner.trials.workload import Decision

LONG = """
search: {epochs: 9, rungs: [3], strategy: asha-stopping, reduction_factor: 3, trials: 10, sampler: SAMPLER}
parameters:
  optimizer: SGD
  batch: {int: [8, 64]}
  imgsz: 64
  lr0: {float: [0.0001, 1.0], log: true}
  momentum: {float: [0.6, 0.98]}
baseline: {batch: 16, lr0: 0.01, momentum: 0.9}
"""


def states(search):
    return [trial.state.name for trial in search.trials]


def test_the_first_trial_is_the_baseline(search):
    assert search.suggest().params["lr0"] == 0.01


def test_a_request_carries_the_whole_configuration_and_the_rungs(search, paths):
    request = search.suggest()
    assert request.params == {"optimizer": "SGD", "batch": 16, "imgsz": 64, "lr0": 0.01}
    assert request.validation_epochs == (3, 9)
    assert (request.epochs, request.stop_epoch) == (9, 9)
    assert request.directory == str(paths.trial(0))


def test_the_losses_at_validated_epochs_are_recorded_with_the_trial(search, study):
    play(search, search.suggest(), 0.1, 0.2)
    assert study.trial(0).facts.losses == {1: 1.0, 3: 1.0, 9: 1.0}


def test_as_many_trials_are_proposed_as_asked_for_and_no_more(search):
    for _ in range(6):
        play(search, search.suggest(), 0.1, 0.2)
    assert search.finished
    assert search.suggest() is None


def test_a_trial_that_reaches_the_last_epoch_is_complete_with_its_last_value(search):
    play(search, search.suggest(), 0.1, 0.25)
    trial = search.trials[0]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.25)
    assert trial.curve == {3: 0.1, 9: 0.25}


def test_the_batch_the_device_and_the_time_of_a_trial_are_recorded(search):
    play(search, search.suggest(), 0.1, 0.25)
    noted = search.trials[0].facts
    assert (noted.batch, noted.epochs, noted.device) == (16, 9, "CPU")
    assert noted.seconds == pytest.approx(18.0)


def test_a_weak_trial_is_pruned_at_its_rung_with_the_reason(search):
    for at_rung in (0.5, 0.4, 0.1):
        play(search, search.suggest(), at_rung, 0.6)
    assert states(search) == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert search.trials[2].reason.startswith("early stop at epoch 3: 0.1000")


def test_the_baseline_is_never_stopped_early(study, space, paths, terms):
    search = Search(study, space, paths, terms)
    baseline = search.suggest()
    others = [search.suggest() for _ in range(3)]
    for request in others:
        search.report(request.trial, epoch(3, 0.5))
    assert search.report(baseline.trial, epoch(3, 0.0)) == Decision.CONTINUE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_a_number_ends_the_trial_at_once_even_the_baseline(search, value):
    request = search.suggest()
    assert search.report(request.trial, epoch(3, value)) == Decision.STOP
    assert search.trials[0].state == TrialState.PRUNED
    assert "diverged" in search.trials[0].reason


def test_a_loss_that_is_not_a_number_ends_the_trial_at_once(search):
    request = search.suggest()
    assert search.report(request.trial, epoch(1, box=math.nan)) == Decision.STOP
    assert search.trials[0].reason == "diverged: a loss is not finite at epoch 1"


def test_a_diverged_trial_is_pruned_with_the_place_of_the_divergence(search):
    request = search.suggest()
    search.report(request.trial, EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN in epoch 1, batch 3"))
    trial = search.trials[0]
    assert trial.state == TrialState.PRUNED
    assert trial.reason == "diverged: the loss became NaN in epoch 1, batch 3"


def test_a_completed_run_without_a_value_is_a_failure(search):
    request = search.suggest()
    search.report(request.trial, EndRecord(outcome=Outcome.COMPLETED))
    assert search.trials[0].state == TrialState.FAIL


def test_after_stop_every_trial_stops_and_nothing_is_proposed(search):
    request = search.suggest()
    search.stop("stopped by SIGINT")
    assert search.suggest() is None
    assert search.report(request.trial, epoch(1)) == Decision.STOP


def test_a_trial_that_was_cut_off_waits_and_is_handed_out_again_under_its_number(search):
    first = search.suggest()
    search.report(first.trial, epoch(3, 0.3))
    search.requeue(first.trial)
    assert states(search) == ["WAITING"]
    again = search.suggest()
    assert (again.trial, again.params) == (first.trial, first.params)


def test_a_restart_resumes_the_trials_that_a_killed_driver_left_running(study, space, paths, terms):
    killed = Search(study, space, paths, terms)
    first, second = killed.suggest(), killed.suggest()
    play(killed, first, 0.3, 0.4)
    killed.report(second.trial, epoch(3, 0.2))

    search = Search(study, space, paths, terms)
    assert states(search) == ["COMPLETE", "WAITING"]
    again = search.suggest()
    assert (again.trial, again.params) == (second.trial, second.params)


def test_a_restart_knows_the_rungs(study, space, paths, terms):
    killed = Search(study, space, paths, terms)
    for _ in range(2):
        play(killed, killed.suggest(), 0.5, 0.6)
    search = Search(study, space, paths, terms)
    assert play(search, search.suggest(), 0.1, 0.2) == Decision.STOP
    assert search.trials[2].state == TrialState.PRUNED


def test_epochs_that_a_resumed_trainer_repeats_change_nothing(study, space, paths, terms):
    killed = Search(study, space, paths, terms)
    requests = [killed.suggest() for _ in range(4)]
    for request, value in zip(requests, (0.5, 0.1, 0.6, 0.7), strict=True):
        killed.report(request.trial, epoch(3, value))
    # Trial 1 passed its rung as the second to arrive; now it would not be in the best third.
    search = Search(study, space, paths, terms)
    numbers = [search.suggest().trial for _ in range(2)]
    assert numbers == [0, 1]
    assert search.report(1, StartedRecord(pid=1, device="CPU")) == Decision.CONTINUE
    assert search.report(1, epoch(3, 0.1)) == Decision.CONTINUE


def test_an_interrupted_trial_to_avoid_resumes_after_all_others_and_after_new_ones(search):
    first, second = search.suggest(), search.suggest()
    search.requeue(first.trial)
    search.requeue(second.trial)
    avoided = {first.trial}
    assert search.suggest(avoided).trial == second.trial
    new = [search.suggest(avoided).trial for _ in range(4)]
    assert new == [2, 3, 4, 5], "as many as the study should have"
    assert search.suggest(avoided).trial == first.trial


def test_an_interrupted_trial_resumes_first_unless_it_is_to_be_avoided(search):
    first = search.suggest()
    search.requeue(first.trial)
    assert search.suggest(avoided={7}).trial == first.trial


# CMA-ES does not use the past before its first generation is over.
@pytest.mark.parametrize(("sampler", "trials"), [("random", 10), ("tpe", 10), ("cmaes", 20), ("gp", 10)])
def test_an_interrupted_search_proposes_what_an_uninterrupted_one_does(
    tmp_path, empty_database, spec, terms, sampler, trials
):
    space = parse_space(LONG.replace("SAMPLER", sampler), name="long", file="long.yaml").with_settings(trials=trials)

    def proposals(name, cuts):
        paths = StudyPaths.of(tmp_path, name)
        paths.create()
        shutil.copy(empty_database, paths.database)
        seen = []
        for cut in (*cuts, 99):
            with driven(f"sqlite:///{paths.database}", spec, paths, name=name) as study:
                search = Search(study, space, paths, terms)
                while len(seen) < cut and (request := search.suggest()) is not None:
                    seen.append((request.trial, dict(request.params)))
                    number = len(seen)
                    if number == 6:
                        search.report(request.trial, StartedRecord(pid=1, device="CPU"))
                        search.report(request.trial, EndRecord(outcome=Outcome.OUT_OF_MEMORY, message="too much"))
                    else:
                        play(search, request, 0.1 + number % 3 / 10, 0.2 + number % 5 / 10)
        return seen

    whole = proposals("whole", [])
    assert len(whole) == trials
    assert proposals("cut", [3, trials - 3]) == whole


def test_each_event_is_reported_in_one_line(study, space, paths, terms):
    told = []
    search = Search(study, space, paths, terms, on_event=told.append)
    play(search, search.suggest(), 0.1, 0.25)
    assert told == ["trial 0 complete: mAP50-95 0.2500"]


# Verdicts, and when they are stored


def test_a_value_that_comes_while_the_search_stops_is_judged_too(search):
    for _ in range(2):
        play(search, search.suggest(), 0.5, 0.6)
    weak = search.suggest()
    search.stop("stopped by SIGINT")
    assert search.report(weak.trial, epoch(3, 0.1)) == Decision.STOP
    assert search.trials[weak.trial].state == TrialState.PRUNED


def test_a_good_value_that_comes_while_the_search_stops_is_kept(search):
    request = search.suggest()
    search.stop("stopped by SIGINT")
    assert search.report(request.trial, epoch(3, 0.3)) == Decision.STOP
    search.requeue(request.trial)
    assert (search.trials[0].state, search.trials[0].curve) == (TrialState.WAITING, {3: 0.3})


@pytest.mark.parametrize("survived", [0, 1, 2, 3, 4, 5, 6, 7])
def test_a_verdict_and_its_value_are_both_known_after_a_death_or_neither(
    url, spec, paths, space, terms, survived, monkeypatch
):
    """Kill the driver after that many single writes of a verdict. Only its journal is left."""
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        for _ in range(2):
            play(search, search.suggest(), 0.5, 0.6)
        weak = search.suggest()
        study.flush(10)
        die_after(monkeypatch, survived)
        search.report(weak.trial, epoch(3, 0.1))
        assert study.trials()[2].state == TrialState.PRUNED
        with pytest.raises(Died):
            study.flush(10)
    monkeypatch.undo()
    with driven(url, spec, paths) as study:
        trial = study.trials()[2]
        assert (trial.state, trial.curve) == (TrialState.PRUNED, {3: 0.1})
        assert trial.reason.startswith("early stop at epoch 3")


@pytest.mark.parametrize("value", [0.1, math.nan])
def test_a_verdict_and_its_value_are_one_line_of_the_journal(study, search, paths, url, value):
    for _ in range(2):
        play(search, search.suggest(), 0.5, 0.6)
    weak = search.suggest()
    study.flush(10)
    with locked(url):
        search.report(weak.trial, epoch(3, value))
        (line,) = paths.journal.read_text().splitlines()
    assert '"state":"PRUNED"' in line
    assert '"curve":{"3":' in line


class Died(Exception):  # noqa: N818
    pass


def die_after(monkeypatch, survived):
    """Allow that many writes to the database, and none after them."""
    left = itertools.count(survived, -1)

    def dying(write):
        def cut_off(*arguments):
            if next(left) <= 0:
                raise Died
            return write(*arguments)

        return cut_off

    for what in ("intermediate_value", "user_attr", "system_attr", "state_values"):
        name = f"set_trial_{what}"
        monkeypatch.setattr(RDBStorage, name, dying(getattr(RDBStorage, name)))


def test_trials_of_a_preempted_driver_are_handed_out_again_by_the_next(url, spec, paths, space, terms):
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        request = search.suggest()
        search.report(request.trial, epoch(3, 0.3))
    assert stored(url)[0].state == TrialState.RUNNING
    told = []
    with study_lease(url, "s") as lease, driven_study(lease, spec, paths.journal) as study:
        search = Search(study, space, paths, terms, on_event=told.append)
        again = search.suggest()
        assert (again.trial, again.params) == (request.trial, request.params)
        assert search.trials[0].curve == {3: 0.3}
    assert told == ["1 interrupted trial(s) resume from their last checkpoint"]


# Records that are sent again


def told_twice(records, draw):
    """Return the records of a trainer that resumed from an earlier checkpoint, perhaps several times."""
    again = []
    for index, record in enumerate(records):
        again.append(record)
        for _ in range(draw(st.integers(0, 2), label="resends")):
            again += records[draw(st.integers(0, index), label="from") : index + 1]
    return again


@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_records_that_are_sent_again_change_nothing(space, spec, paths, terms, data):
    values = data.draw(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=4), label="values")
    told = []
    for repeats in (False, True):
        changes = Kept()
        search = Search(in_memory(changes, spec), space, paths, terms)
        for at_rung, at_end in values:
            records = [epoch(number, {3: at_rung, 9: at_end}.get(number)) for number in range(1, 10)]
            request = search.suggest()
            for record in told_twice(records, data.draw) if repeats else records:
                search.report(request.trial, record)
            search.report(request.trial, EndRecord(outcome=Outcome.COMPLETED))
        told.append([change.encoded() for change in changes])
    assert told[0] == told[1]
