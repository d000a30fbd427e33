"""Simulate time: which worker trains when, and what is counted."""

import numpy as np
import pytest

from tuner.simulation.measures import measures
from tuner.simulation.replay import Decision, Job, Pool, replay


class Scripted:
    """Strategy that begins rows in order, answers by script[(trial, epoch)] or CONTINUE, and calls `back` back."""

    def __init__(self, rows, script=None, back=()):
        self.rows, self.script, self.back = list(rows), script or {}, list(back)
        self.begun, self.heard = 0, []

    def ask(self):
        if self.back and self.back[0][1] <= len(self.heard):
            trial = self.back.pop(0)[0]
            return Job(trial, trial)
        if not self.rows:
            return None
        self.begun += 1
        return Job(self.begun - 1, self.rows.pop(0))

    def report(self, trial, epoch, metric, loss, seconds):
        self.heard.append((trial, epoch))
        return self.script.get((trial, epoch), Decision.CONTINUE)

    def incumbent(self):
        return self.heard[-1][0] if self.heard else None


def test_workers_train_in_parallel_and_the_first_to_end_is_handled_first(table):
    tuner = Scripted([0, 1])
    replay(table(np.zeros((2, 2)), seconds=[[1, 1], [3, 3]]), tuner, workers=2, budget=2)
    assert tuner.heard == [(0, 1), (0, 2), (1, 1)]  # four seconds of two workers


def test_the_budget_is_worker_time_in_full_runs_of_average_cost(table):
    tuner = Scripted(range(9))
    outcome = replay(table(np.zeros((9, 2))), tuner, workers=2, budget=3)  # three seconds of two workers
    assert sum(outcome.epochs) == 6
    assert (outcome.busy_s, outcome.idle_s) == (6.0, 0.0)


def test_a_stopped_run_frees_its_worker_at_once(table):
    tuner = Scripted(range(9), {(0, 1): Decision.STOP})
    replay(table(np.zeros((9, 3))), tuner, workers=1, budget=1)
    assert tuner.heard == [(0, 1), (1, 1), (1, 2)]


def test_a_paused_run_resumes_from_its_epoch(table):
    tuner = Scripted([0, 1], {(0, 1): Decision.PAUSE}, back=[(0, 3)])
    outcome = replay(table(np.zeros((2, 2))), tuner, workers=1, budget=2)
    assert tuner.heard == [(0, 1), (1, 1), (1, 2), (0, 2)]
    assert "resume 0 after epoch 1" in outcome.log


def test_a_worker_without_a_run_is_idle(table):
    outcome = replay(table(np.zeros((1, 2))), Scripted([0]), workers=2, budget=2)
    values = measures(table(np.zeros((1, 2))), outcome)
    assert values["idle_share"] == pytest.approx(0.5)
    assert (values["trials"], values["full_runs"]) == (1, 1)


def test_a_search_with_nothing_left_to_train_is_over_without_idle_workers(table):
    outcome = replay(table(np.zeros((1, 2))), Scripted([0]), workers=1, budget=5)
    assert (outcome.ended_s, outcome.busy_s, outcome.idle_s) == (2.0, 2.0, 0.0)


def test_epochs_of_dead_runs_are_counted_from_the_first_dead_one(table):
    made = table([[0.1, np.nan, np.nan]])
    outcome = replay(made, Scripted([0]), workers=1, budget=1)
    assert measures(made, outcome)["dead_epoch_share"] == pytest.approx(2 / 3)


def test_the_incumbent_is_recorded_when_that_share_of_the_budget_is_spent(table):
    made = table(np.arange(20.0).reshape(10, 2))
    outcome = replay(made, Scripted(range(10)), workers=1, budget=5, checkpoints=(10, 20, 50, 100))
    # after 1, 2, 5 and 10 of ten seconds; a run takes two seconds
    assert outcome.incumbents == {10: 0, 20: 0, 50: 2, 100: 4}


def test_before_the_first_result_there_is_no_incumbent_and_the_regret_is_full(table):
    made = table(np.arange(4.0).reshape(2, 2), seconds=[[10, 1], [10, 1]])
    outcome = replay(made, Scripted([0]), workers=1, budget=1, checkpoints=(10,))
    assert measures(made, outcome)["regret"] == {"10": 1.0}


def test_a_proposal_gets_the_nearest_row_that_is_free(table):
    pool = Pool(table(np.zeros((3, 1))))  # at 0, 0.5 and 1
    assert pool.nearest(np.array([0.4])) == 1
    pool.take(1)
    assert pool.nearest(np.array([0.4])) == 0
    pool.take(0)
    pool.take(2)
    assert pool.empty
