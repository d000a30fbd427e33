"""The peers of our own environment: their input and their answers, in addition to the rules that all peers share."""

import math
from dataclasses import replace

import numpy as np
import pytest
from optuna.trial import TrialState

from benchmarks.decisions.peers.history import History
from benchmarks.decisions.peers.optuna_tpe import METHODS as OPTUNA
from benchmarks.decisions.peers.random_search import RandomSearch
from benchmarks.decisions.peers.ray_asha import METHODS as RAY
from benchmarks.decisions.peers.rows import Rows
from benchmarks.decisions.peers.rungs import Targets, epochs_of
from benchmarks.decisions.peers.ultralytics_ga import UltralyticsGa
from tests.benchmarks.decisions.synthetic import EPOCHS, table
from tuner.simulation.replay import Decision, Pool

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP


def begun(make, trials: int):
    """Make a search that has started so many trials."""
    searched = table()
    tuner = make(searched, Pool(searched), 0, trials)
    assert [tuner.ask().trial for _ in range(trials)] == list(range(trials))
    return tuner


def heard(tuner, trial: int, *metrics: float) -> list[Decision]:
    return [tuner.report(trial, epoch, metric, 0.0, 1.0) for epoch, metric in enumerate(metrics, 1)]


def test_a_proposal_goes_to_the_nearest_free_row():
    searched = table()
    rows = Rows(searched, Pool(searched))
    assert [rows.take(rows.values(7)), rows.take(rows.values(9))] == [7, 9]
    distances = ((searched.points - searched.points[7]) ** 2).sum(axis=1)
    distances[[7, 9]] = np.inf
    assert rows.take(rows.values(7)) == distances.argmin()


def test_choices_are_indices_and_ranges_are_numbers():
    searched = table()
    rows = Rows(searched, Pool(searched))
    values = rows.values(0)
    assert [type(values[name]) for name in rows.names] == [float, float, int]
    assert set(rows.choices.values()) == {0, 3}
    np.testing.assert_allclose(rows.point(values), searched.points[0])


def test_the_best_has_a_finite_last_value():
    history = History()
    for row, last in enumerate((0.5, math.nan, 0.7, math.inf)):
        history.note(history.begin(row), 1, last)
    history.begin(4)
    history.note(0, 3, 0.4)
    assert history.best() == 2
    assert history.best([0, 1, 4]) == 0
    assert history.best_at(3) == 0
    assert history.best_at(4) is None
    assert history.worst(9.0) == 0.4


def test_without_values_there_is_no_best():
    assert History().best() is None
    assert History().worst(9.0) == 9.0


def test_a_paused_row_can_resume_and_a_running_row_is_not_requested_again():
    targets = Targets()
    assert targets.train(5, 2).trial == 0
    assert not targets.can_go_on(5, 6)
    assert [targets.report(0, 1, 0.1), targets.report(0, 2, 0.2)] == [False, True]
    assert targets.can_go_on(5, 6)
    assert not targets.can_go_on(5, 2)
    assert (targets.train(5, 6).trial, targets.train(8, 2).trial) == (0, 1)
    assert targets.trial_of(8) == 1


@pytest.mark.parametrize(("fidelity", "epochs"), [(0.3, 1), (1.0, 1), (1.89, 2), (5.67, 6), (17.0, 17), (51.0, 51)])
def test_fidelities_are_rounded_to_epochs(fidelity, epochs):
    assert epochs_of(fidelity) == epochs


def test_random_search_promotes_full_runs_first():
    tuner = begun(RandomSearch, 2)
    assert tuner.incumbent() is None
    heard(tuner, 1, 0.9)
    assert tuner.incumbent() == 1
    assert heard(tuner, 0, *[0.5] * EPOCHS) == [CONTINUE] * EPOCHS
    assert tuner.incumbent() == 0


def test_optuna_receives_the_row_that_is_trained():
    searched = table()
    tuner = OPTUNA["optuna-tpe"](searched, Pool(searched), 0, 2)
    rows = Rows(searched, Pool(searched))
    for _ in range(12):
        job = tuner.ask()
        heard(tuner, job.trial, *searched.metric[job.row])
        assert tuner._study.trials[job.trial].params == rows.values(job.row)


@pytest.mark.parametrize(
    ("make", "study"),
    [
        (OPTUNA["optuna-tpe"], lambda tuner: tuner._study),
        (RAY["ray-asha-1-optuna-tpe"], lambda tuner: tuner._searcher._ot_study),
    ],
    ids=["optuna", "ray"],
)
def test_optuna_takes_a_known_default_from_its_queue_and_then_samples(make, study):
    searched = replace(table(), baseline=7)
    tuner = make(searched, Pool(searched), 0, 2)
    rows = Rows(searched, Pool(searched))
    jobs = [tuner.ask() for _ in range(3)]
    assert jobs[0].row == 7
    assert [trial.params for trial in study(tuner).trials] == [rows.values(job.row) for job in jobs]
    assert ["fixed_params" in trial.system_attrs for trial in study(tuner).trials] == [True, False, False]


def test_random_search_draws_after_the_default():
    searched = replace(table(), baseline=7)
    tuner = RandomSearch(searched, Pool(searched), 0, 2)
    without = RandomSearch(table(), Pool(table()), 0, 2)
    assert [tuner.ask().row for _ in range(4)] == [7, *[without.ask().row for _ in range(4)][1:]]


def test_optuna_stops_the_worse_of_a_rung():
    tuner = begun(OPTUNA["optuna-tpe-sha"], 3)
    assert heard(tuner, 0, *[0.5] * EPOCHS) == [CONTINUE] * EPOCHS  # the pruner derives its rungs from it
    assert heard(tuner, 1, 0.3, 0.3) == [CONTINUE, CONTINUE]  # the first in its rung
    assert heard(tuner, 2, 0.2, 0.2) == [CONTINUE, STOP]
    states = [trial.state for trial in tuner._study.trials]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED]
    assert tuner.incumbent() == 0


def test_a_run_that_ends_in_nan_is_reported_to_optuna_as_failed():
    tuner = begun(OPTUNA["optuna-tpe"], 2)
    assert heard(tuner, 0, *[0.5] * (EPOCHS - 1), math.nan) == [CONTINUE] * EPOCHS
    assert tuner._study.trials[0].state == TrialState.FAIL
    heard(tuner, 1, 0.1)
    assert tuner.incumbent() == 1


def test_ray_never_stops_nan_and_leaves_its_trial_running_in_optuna():
    tuner = begun(RAY["ray-asha-1-optuna-tpe"], 2)
    assert heard(tuner, 0, 0.5) == [CONTINUE]
    nan = heard(tuner, 1, *[math.nan] * EPOCHS)
    assert nan == [CONTINUE] * (EPOCHS - 1) + [STOP]  # at `max_t`, like every trial
    assert tuner._searcher._ot_study.trials[1].state == TrialState.RUNNING
    assert tuner.incumbent() == 0


def test_ray_reports_a_stopped_trial_as_complete_without_its_last_report():
    tuner = begun(RAY["ray-asha-1-optuna-tpe"], 2)
    assert heard(tuner, 0, 0.5, 0.6, 0.7) == [CONTINUE] * 3
    assert heard(tuner, 1, 0.55, 0.56, 0.6) == [CONTINUE, CONTINUE, STOP]
    told = tuner._searcher._ot_study.trials[1]
    assert (told.state, told.value) == (TrialState.COMPLETE, 0.6)
    assert told.intermediate_values == {1: 0.55, 2: 0.56}


def test_ray_stops_no_trial_in_the_grace_period():
    tuner = begun(RAY["ray-asha-10-optuna-tpe"], 2)
    heard(tuner, 0, *[0.9] * 8)
    assert heard(tuner, 1, *[0.1] * 8) == [CONTINUE] * 8


def test_ultralytics_gives_up_a_run_after_three_recoveries():
    tuner = begun(UltralyticsGa, 1)
    nan = math.nan
    assert heard(tuner, 0, nan, nan, nan, nan, 0.1, nan, nan, nan, nan) == [CONTINUE] * 8 + [STOP]


def test_ultralytics_starts_with_the_default_if_it_is_known():
    searched = replace(table(), baseline=7)
    assert UltralyticsGa(searched, Pool(searched), 0, 1).ask().row == 7


def test_ultralytics_mutates_the_first_trial_until_a_run_is_over():
    searched = table()
    first, second = (begun(UltralyticsGa, 2)._history.rows[t] for t in (0, 1))
    far = np.linalg.norm(searched.points - searched.points[first], axis=1)
    assert far[second] < np.median(far)


def test_ultralytics_children_stay_near_the_best():
    searched = table()
    tuner = UltralyticsGa(searched, Pool(searched), 0, 1)
    for _ in range(40):
        job = tuner.ask()
        heard(tuner, job.trial, *[float(searched.points[job.row, 0])] * EPOCHS)
    assert searched.points[tuner._history.rows[20:], 0].mean() > searched.points[:, 0].mean()
    assert tuner.incumbent() == int(np.argmax(searched.points[tuner._history.rows, 0]))
