"""Compare the estimated cost with the actual one."""

import dataclasses
import math
from datetime import timedelta

import pytest

from tests.tuner.conftest import epoch, play
from tuner.contract import EndRecord, Outcome, encode
from tuner.cost.actual import full_run_times, noted, search_times
from tuner.cost.estimate import estimate_cost
from tuner.study import ProfilingFacts
from tuner.training.final_run import FinalRun, choose_winner, full_run_request


@pytest.fixture
def searched(study, search):
    """Return a study of two trials of nine epochs of two seconds each, in 20 seconds."""
    play(search, search.suggest(), 0.1, 0.25)
    play(search, search.suggest(), 0.1, 0.3)
    search.pass_time(20.0)
    search.note_time()
    return study


def test_nothing_is_shown_before_anything_is_trained(study):
    assert search_times(study) == []


def test_a_search_shows_its_epochs_their_pace_and_the_wall_time(searched):
    assert search_times(searched) == ["search: 18 epochs of 2.0 s in 0:00:20"]


def test_the_estimate_is_shown_at_the_measured_pace(searched, space):
    estimate = estimate_cost(space, slots=2)
    searched.record_profiling(ProfilingFacts(estimate=noted(estimate, trials=2, slots=2)))
    (line,) = search_times(searched)
    assert line.startswith(f"search: 18 epochs of 2.0 s in 0:00:20; estimated {estimate.trained.shown()} epochs, ")
    low, high = (timedelta(seconds=round(2 * end)) for end in (estimate.wall.low, estimate.wall.high))
    assert line.endswith(f"at this pace {low} to {high} with 2 slot(s)")


def test_the_cost_estimate_of_another_number_of_trials_is_not_compared(searched, space):
    estimate = noted(estimate_cost(space, slots=2), trials=3, slots=2)
    searched.record_profiling(ProfilingFacts(estimate=estimate))
    assert search_times(searched) == ["search: 18 epochs of 2.0 s in 0:00:20"]


def test_the_full_run_is_compared_with_the_pace_of_its_trial(searched, paths):
    request = full_run_request(searched, paths, choose_winner(searched), epochs=4, gpus=2, threads=1)
    FinalRun(searched, request)
    folder = paths.final_run(1, 4)
    folder.mkdir(parents=True)
    assert full_run_times(searched) == [], "no record yet"
    records = [epoch(number, 0.1) for number in range(1, 5)]
    (folder / "records.jsonl").write_text("".join(f"{encode(record)}\n" for record in records))
    assert full_run_times(searched) == [
        "final run: 4 epochs in 0:00:08 on 2 GPUs; expected 0:00:08 at the pace of its trial"
    ]


@pytest.mark.parametrize("told", [math.nan, math.inf])
def test_times_that_are_not_numbers_are_ignored(search, study, told):
    play(search, search.suggest(), 0.1, 0.25)
    request = search.suggest()
    search.report(request.trial, dataclasses.replace(epoch(9, 0.3), seconds=told))
    search.report(request.trial, EndRecord(outcome=Outcome.COMPLETED))
    search.pass_time(20.0)
    search.note_time()
    assert search_times(study) == ["search: 9 epochs of 2.0 s in 0:00:20"]
