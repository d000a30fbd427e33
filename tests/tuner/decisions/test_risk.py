"""The estimated probability of a lost run."""

import numpy as np
import pytest

from tuner.decisions.history import History, Status
from tuner.decisions.proposers import ModelProposer
from tuner.decisions.risk import risk
from tuner.decisions.rungs import Rungs
from tuner.unit_cube import Cube, Dimension


@pytest.fixture
def points():
    return np.random.default_rng(0).random((60, 10))


def separation(known, lost, new, truly_lost):
    """Return the share of pairs of a lost and another run in which the lost one has the higher risk; chance is 0.5."""
    likely = risk(new, known, lost)
    return np.mean(likely[truly_lost][:, None] > likely[~truly_lost])


@pytest.mark.parametrize(
    "is_lost",
    [
        lambda x: x[:, 0] > 0.7,
        lambda x: np.abs(x[:, 0] - 0.5) > 0.35,
        lambda x: np.abs(x[:, 0] - 0.5) < 0.15,
        lambda x: x[:, 0] + x[:, 1] > 1.4,
    ],
    ids=["beyond a limit", "at both ends", "in the middle", "beyond a limit of two together"],
)
def test_the_one_parameter_of_ten_that_decides_losses_is_found(points, is_lost):
    new = np.random.default_rng(1).random((500, 10))
    assert separation(points, is_lost(points), new, is_lost(new)) > 0.85


def test_a_choice_that_loses_runs_is_found():
    cube = Cube((Dimension(choices=3), *(Dimension(),) * 9))
    known, new = (cube.random(np.random.default_rng(seed), 60) for seed in (0, 1))
    lost, truly_lost = (np.isclose(points[:, 0], 0.5) for points in (known, new))
    assert separation(cube.features(known), lost, cube.features(new), truly_lost) > 0.95


@pytest.mark.parametrize("number", [1, 5, 60])
def test_runs_that_all_survived_lower_the_risk_everywhere_and_lost_ones_raise_it(points, number):
    known = points[:number]
    survived, lost = (risk(points, known, np.full(number, value)).mean() for value in (False, True))
    assert survived < 0.12 < lost


def test_the_probability_is_right_if_losses_are_random():
    rng = np.random.default_rng(0)
    known = rng.random((400, 6))
    likely = risk(rng.random((50, 6)), known, rng.random(400) < 0.3)
    assert likely.mean() == pytest.approx(0.3, abs=0.05)
    assert likely.std() < 0.12


def test_a_strict_limit_gives_finite_probabilities():
    known = np.linspace(0.0, 1.0, 256)[:, None] * np.ones((1, 30))
    likely = risk(known, known, known[:, 0] > 0.5)
    assert np.all((likely >= 0) & (likely <= 1))
    assert likely[-1] > 0.99 > 0.01 > likely[0]


@pytest.mark.parametrize("seed", range(3))
def test_a_search_loses_few_runs_although_42_percent_of_all_configurations_diverge(seed):
    cube, rungs = Cube((Dimension(),) * 8), Rungs(epochs=(1,), reduction_factor=4)

    def diverges(point):
        return point[0] + 0.3 * (point[1] - point[2]) > 0.58

    assert np.mean([diverges(point) for point in cube.random(np.random.default_rng(0), 4000)]) > 0.4
    history = History(epochs=50, dimensions=8)
    for _ in range(160):
        point = ModelProposer(near_baseline=0.0).propose(history, cube, rungs, seed=seed, allowed=lambda point: True)
        trial = history.begin(point)
        if diverges(point):
            history.set_status(trial, Status.LOST)
            continue
        history.report(trial, 1, float(point[0]) - float(np.abs(point[3] - 0.4)))  # best at the end of the range
        history.set_status(trial, Status.PAUSED)
    lost = history.status == Status.LOST
    assert lost[16:].mean() < 0.08
