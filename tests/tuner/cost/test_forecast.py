"""Compare the remaining time shown in mid-search with the actual one, on new simulated searches."""

import dataclasses
from statistics import fmean

import numpy as np
import pytest

from tuner.cost.estimate import estimate_cost, made_up_curves
from tuner.cost.forecast import Forecast, Position
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Limits
from tuner.simulation.replay import Decision, Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.space import SHIPPED_SPACES, UnitCube, load_space

EPOCH_S = 7.0
SPREAD = 0.15
"""Spread of the time of an epoch between configurations."""


class Watched(SimulatedSearch):
    """Records after each epoch how far every trial is and how many have ended."""

    def __init__(self, table, *arguments, **options):
        super().__init__(table, *arguments, **options)
        self.trials = options["limits"].trials
        self.last = table.epochs
        self.epochs, self.states = {}, {}
        self.course = []

    def ask(self):
        job = super().ask()
        if job is not None:
            self.epochs.setdefault(job.trial, 0)
            self.states[job.trial] = "training"
        if self.course:
            self.course[-1] = self.seen()
        return job

    def report(self, trial, epoch, *values):
        decision = super().report(trial, epoch, *values)
        self.epochs[trial] = epoch
        if decision == Decision.PAUSE:
            self.states[trial] = "paused"
        elif decision == Decision.STOP or epoch == self.last:
            self.states[trial] = "ended"
        self.course.append(self.seen())
        return decision

    def seen(self):
        by_state = {
            state: tuple(self.epochs[trial] for trial, now in self.states.items() if now == state)
            for state in ("training", "paused", "ended")
        }
        return Position(to_begin=self.trials - len(self.epochs), **by_state)


def searched(space, slots, seed):
    """Simulate a whole search. Return when each epoch ended, and the state of the search then."""
    settings = space.settings
    rng = np.random.default_rng(seed)
    table = made_up_curves(UnitCube(space).cube, settings.epochs, 3 * settings.trials, rng)
    pace_s = EPOCH_S * np.exp(SPREAD * rng.standard_normal(len(table.points)))
    table = dataclasses.replace(table, seconds=np.ones_like(table.metric) * pace_s[:, None])
    rungs = Rungs(epochs=settings.rung_epochs, reduction_factor=settings.reduction_factor)
    limits = Limits(trials=settings.trials)
    search = Watched(table, Pool(table), settings.strategy, seed=seed, rungs=rungs, limits=limits)
    outcome = replay(table, search, workers=slots, budget=3.0 * settings.trials * slots, checkpoints=())
    return outcome.epoch_ends_s, search.course


def forecast_of(space, slots):
    return Forecast(
        estimate=estimate_cost(space, slots=slots), slots=slots, epochs=space.settings.epochs, promote_epochs=0
    )


def errors(space, slots, share, seeds):
    """Return the relative errors of the remaining time at that share of each search; also those by ended trials."""
    forecast = forecast_of(space, slots)
    ours, by_ended = [], []
    for seed in seeds:
        ends, course = searched(space, slots, seed)
        now = share * ends[-1]
        position = course[sum(end <= now for end in ends) - 1]
        pace = forecast.pace_s(before=0, trained=position.trained, elapsed_s=now)
        came = ends[-1] - now
        ours.append(abs(forecast.search_epochs(position) * pace / came - 1))
        if position.ended:
            told = now / len(position.ended) * (space.settings.trials - len(position.ended))
            by_ended.append(abs(told / came - 1))
    return fmean(ours), fmean(by_ended)


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("strategy", ["auto", "asha-stopping"])
def test_in_mid_search_the_remaining_time_is_within_a_third_and_nearer_than_by_ended_trials(strategy, slots):
    space = load_space(SHIPPED_SPACES / "strong_aug.yaml").with_settings(strategy=strategy)
    ours, by_ended = errors(space, slots, 0.5, range(100, 106))
    assert ours < 0.35
    assert ours < by_ended


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_at_a_quarter_and_at_three_quarters_the_remaining_time_has_the_right_size(share):
    space = load_space(SHIPPED_SPACES / "strong_aug.yaml")
    ours, by_ended = errors(space, 2, share, range(100, 106))
    assert ours < 0.5
    assert ours < 0.2 * by_ended


@pytest.fixture(scope="module")
def forecast():
    return forecast_of(load_space(SHIPPED_SPACES / "strong_aug.yaml"), 2)


def test_a_search_that_has_ended_has_no_remaining_time(forecast):
    ended = Position(to_begin=0, training=(), paused=(), ended=(9,) * 30 + (27,) * 8 + (54,) * 2)
    assert forecast.search_epochs(ended) == pytest.approx(0.0, abs=1e-9)


def test_a_trial_that_goes_to_its_last_epoch_is_waited_for_however_much_was_trained(forecast):
    last = Position(to_begin=0, training=(30,), paused=(), ended=(54,) * 39)
    assert forecast.search_epochs(last) >= 24


def test_trials_that_have_not_begun_are_counted_whatever_the_others_took(forecast):
    more = Position(to_begin=20, training=(), paused=(), ended=(54,) * 20)
    assert forecast.search_epochs(more) >= 20 * 6 / 2


def test_no_trial_is_called_back_if_none_waits(forecast):
    none_waits = Position(to_begin=0, training=(), paused=(), ended=(9,) * 40)
    assert forecast.search_epochs(none_waits) == pytest.approx(0.0, abs=1e-9)


def test_training_before_this_driver_began_says_nothing_about_its_pace(forecast):
    assert forecast.pace_s(before=300, trained=301, elapsed_s=1000.0) is None
    first = forecast.pace_s(before=0, trained=100, elapsed_s=500.0)
    later = forecast.pace_s(before=300, trained=400, elapsed_s=500.0)
    assert first == pytest.approx(later, rel=0.1)
    assert first == pytest.approx(10.0, rel=0.1)


def test_a_comparison_takes_as_many_rounds_as_the_slots_need(forecast):
    runs = forecast.estimate.comparison_runs.high
    assert forecast.comparison_s(10.0) == pytest.approx(np.ceil(runs / 2) * 54 * 10.0)
    assert dataclasses.replace(forecast, slots=64).comparison_s(10.0) == 540.0
