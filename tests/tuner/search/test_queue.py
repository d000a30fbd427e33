"""Search with trials that pause at a rung and are called back."""

import math

import pytest
from optuna.trial import TrialState
from rich.console import Console

from tests.tuner.conftest import driven, epoch
from tuner.contract import EndRecord, Outcome, StartedRecord
from tuner.decisions.log_check import differences
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Limits, make_engine
from tuner.report.status import status_of, status_table
from tuner.search.search import Search
from tuner.space import UnitCube
from tuner.trials.workload import Decision


@pytest.fixture
def space(space):
    return space.with_settings(strategy="auto", sampler="auto", trials=9)


def start(search):
    """Start the next proposed trial. Return its number."""
    request = search.suggest()
    search.report(request.trial, StartedRecord(pid=1, device="CPU"))
    return request.trial


def finish(search, number, value):
    search.report(number, epoch(9, value))
    search.report(number, EndRecord(outcome=Outcome.COMPLETED))


def states(search):
    return "".join(trial.state.name[0] for trial in search.trials)  # Running, Waiting, Complete, Pruned, Fail


def test_a_trial_that_is_behind_pauses_and_frees_its_slot(search):
    numbers = [start(search) for _ in range(4)]
    for number, value in zip(numbers[:3], (0.3, 0.5, 0.1), strict=True):
        decision = search.report(number, epoch(3, value))
    assert decision == Decision.STOP
    assert states(search) == "RWWR"  # with two arrivals no trial has a place; the baseline runs to its end
    assert search.trials[2].is_paused
    assert search.trials[2].curve == {3: 0.1}


def test_the_status_says_what_a_paused_trial_waits_for(search, study):
    for number, value in zip([start(search) for _ in range(3)], (0.3, 0.5, 0.1), strict=True):
        search.report(number, epoch(3, value))
    console = Console(width=200, record=True)
    console.print(*status_table(status_of(study)))
    assert "paused after epoch 3; resumes if it turns out to be ahead" in console.export_text()


def test_a_paused_trial_is_called_back_under_its_number_before_a_new_one_begins(search):
    for value in (0.3, 0.5, 0.1):
        search.report(start(search), epoch(3, value))
    request = search.suggest()
    assert request.trial == 1
    assert states(search) == "RRW"
    assert not search.trials[1].is_paused


def test_after_a_restart_the_same_trials_are_paused_and_the_same_is_called_back(url, spec, paths, space, terms):
    space = space.with_settings(trials=30)
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        numbers = [start(search) for _ in range(4)]
        for number, value in zip(numbers, (0.3, 0.5, 0.1, 0.2), strict=True):
            search.report(number, epoch(3, value))
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        assert [trial.is_paused for trial in search.trials] == [False, True, True, True]
        assert search.suggest().trial == 0  # cut off while it trained: first
        assert search.suggest().trial == 1
        assert search.suggest().trial == 4  # no other trial has a place


def test_a_trial_that_was_called_back_and_cut_off_resumes_whatever_came_since(url, spec, paths, space, terms):
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        for value in (0.3, 0.5, 0.1):
            search.report(start(search), epoch(3, value))
        assert search.suggest().trial == 1
        search.requeue(0)
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        assert {search.suggest().trial, search.suggest().trial} == {0, 1}


def test_waiting_trials_end_when_none_begins_or_is_called_back_any_more(search, paths):
    numbers = [start(search) for _ in range(9)]
    for number in numbers:
        (paths.trial(number) / "weights").mkdir(parents=True)
        search.report(number, epoch(3, 0.9 - 0.1 * number))
    while (request := search.suggest()) is not None:
        finish(search, request.trial, 0.9)
    for number in [n for n, trial in enumerate(search.trials) if trial.state == TrialState.RUNNING]:
        finish(search, number, 0.95)
    assert search.finished
    assert states(search).count("C") >= 3
    assert set(states(search)) == {"C", "P"}
    pruned = [trial for trial in search.trials if trial.state == TrialState.PRUNED]
    assert all(trial.reason.startswith("early stop at epoch 3") for trial in pruned)
    assert not any((paths.trial(trial.number) / "weights").exists() for trial in pruned)


def test_a_paused_trial_ends_and_loses_its_weights_once_it_can_never_be_called_back(search, paths):
    numbers = [start(search) for _ in range(5)]
    (paths.trial(1) / "weights").mkdir(parents=True)
    search.report(numbers[0], epoch(3, 0.5))
    search.report(numbers[1], epoch(3, 0.1))
    assert search.trials[1].is_paused
    for number in numbers[2:]:
        search.report(number, epoch(3, 0.2))
    assert search.trials[1].state == TrialState.PRUNED  # four are better, and three of nine trials can continue
    assert not (paths.trial(1) / "weights").exists()


def test_weights_of_a_paused_trial_are_kept(search, paths):
    for value in (0.3, 0.5, 0.1):
        number = start(search)
        (paths.trial(number) / "weights").mkdir(parents=True)
        search.report(number, epoch(3, value))
    assert (paths.trial(2) / "weights").exists()


def test_a_loss_that_explodes_ends_a_trial_at_that_epoch(search):
    number = start(search)
    search.report(number, epoch(1, box=2.0))
    assert search.report(number, epoch(2, box=200.0)) == Decision.STOP
    assert search.trials[0].reason.startswith("diverged: the loss is")


def test_the_model_proposes_from_the_configurations_so_far(search, space):
    cube = UnitCube(space)
    for _ in range(9):
        number = start(search)
        assert 0 <= cube.point(search.trials[number].sampled)[0] <= 1
    assert len({trial.params["lr0"] for trial in search.trials}) == 9


def test_replaying_the_log_of_a_search_gives_the_same_decisions(url, spec, paths, space, terms):
    space = space.with_settings(trials=30)
    with driven(url, spec, paths) as study:
        search = Search(study, space, paths, terms)
        live = []
        for turn in range(200):
            while len(live) < 4 and (request := search.suggest()) is not None:
                live.append(request.trial)
            if not live:
                break
            number = live[turn % len(live)]
            value = math.sin(5 * search.trials[number].params["lr0"] + number)
            next_epoch = 3 if 3 not in search.trials[number].curve else 9
            if search.report(number, epoch(next_epoch, value)) == Decision.STOP:
                live.remove(number)
            elif next_epoch == 9:
                search.report(number, EndRecord(outcome=Outcome.COMPLETED))
                live.remove(number)
        assert search.finished

    cube = UnitCube(space)
    engine = make_engine(
        "auto", cube.cube, Rungs(epochs=(3,), reduction_factor=3), seed=spec.seed, limits=Limits(trials=30)
    )
    lines = paths.decisions.read_text().splitlines()
    rounded = lambda point: cube.point(cube.sampled(point))  # noqa: E731
    assert sum('"begin"' in line for line in lines) == 30
    assert differences(lines, engine, epochs=9, rounded=rounded) == []
    # the check is not empty: other rungs or another seed give other decisions
    other = make_engine("auto", cube.cube, Rungs(epochs=(3,), reduction_factor=2), seed=1, limits=Limits(trials=30))
    assert differences(lines, other, epochs=9, rounded=rounded)


def test_only_interrupted_trials_are_reported_to_resume(study, space, paths, terms):
    search = Search(study, space, paths, terms)
    for value in (0.3, 0.5, 0.1):
        search.report(start(search), epoch(3, value))
    assert states(search) == "RWW"
    told = []
    Search(study, space, paths, terms, on_event=told.append)
    assert told == ["1 interrupted trial(s) resume from their last checkpoint"]
