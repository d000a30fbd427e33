"""Benchmarks that train a proposal as it is, and benchmarks that allow only rows as proposals."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.decisions.continuous import CurveModel, searched
from benchmarks.decisions.dead_runs import THINNED_TO, RowCube, thinned
from tuner.cost.estimate import made_up_curves
from tuner.simulation.replay import Pool
from tuner.unit_cube import Cube, Dimension

CUBE = Cube((Dimension(), Dimension(choices=3), Dimension(), Dimension()))


@pytest.fixture(scope="module")
def table():
    """Make a table in which one row in four diverges: those with a high first parameter."""
    made = made_up_curves(CUBE, 9, 200, np.random.default_rng(0))
    loss = np.tile(np.linspace(2.0, 1.0, 9), (200, 1)) + made.points[:, 2:3]
    metric = np.where(made.points[:, :1] > 0.75, np.nan, np.nan_to_num(made.metric))
    return replace(made, metric=metric, loss=loss, baseline=None)


@pytest.fixture(scope="module")
def model(table):
    return CurveModel(table)


def test_at_a_row_the_model_answers_with_its_curves(table, model):
    for row in range(0, 200, 10):
        metric, loss, seconds = model.at(table.points[row])
        assert np.allclose(metric, table.metric[row], equal_nan=True)
        assert np.allclose(loss, table.loss[row])
        assert np.array_equal(seconds, table.seconds[row])


def test_between_rows_curves_follow_the_parameters_and_nearly_the_same_point_has_nearly_the_same_curve(model):
    points = CUBE.random(np.random.default_rng(1), 100)
    losses = np.array([model.at(point)[1][-1] for point in points])
    assert np.corrcoef(losses, points[:, 2])[0, 1] > 0.9
    step = np.array([0.001, 0.0, 0.001, 0.0])
    moved = np.array([model.at(point + step)[1][-1] for point in points])
    assert np.median(np.abs(moved - losses)) < 0.01 * losses.std()


def test_a_run_between_rows_diverges_if_the_rows_around_it_do(model):
    points = CUBE.random(np.random.default_rng(2), 200)
    diverges = np.array([np.isnan(model.at(point)[0]).any() for point in points])
    assert np.mean(diverges == (points[:, 0] > 0.75)) > 0.9


@pytest.mark.parametrize("method", ["auto", "ray-asha-10-optuna-tpe"])
def test_a_search_gets_an_answer_to_each_proposal_and_is_reproducible(table, model, method):
    found = searched(table, model, method, seed=0)
    assert np.array_equal(found, searched(table, model, method, seed=0))
    *regret, dead, trials, full = found
    assert max(regret) <= 1
    assert regret[-1] < 0.7
    assert 0 <= dead < 0.2
    assert trials > full > 3


def test_with_rows_as_the_only_proposals_each_is_free(table):
    pool = Pool(table)
    cube = RowCube(CUBE.dimensions, pool, table.points)
    rng = np.random.default_rng(0)
    for number in range(150):
        points = cube.random(rng, 20)
        rows = [int(np.flatnonzero((table.points == point).all(axis=1))[0]) for point in points]
        assert len(set(rows)) == len(rows)
        assert all(pool.nearest(point) == row for point, row in zip(points, rows, strict=True))
        pool.take(rows[number % len(rows)])


def test_a_thinned_table_keeps_all_diverging_rows_and_its_share_of_others(table):
    fewer = thinned(table)
    assert np.sum(fewer.dead_from <= 9) == np.sum(table.dead_from <= 9)
    assert np.mean(fewer.dead_from <= 9) == pytest.approx(THINNED_TO, abs=0.01)
