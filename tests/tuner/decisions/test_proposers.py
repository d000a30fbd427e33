"""The model's proposals."""

import time

import numpy as np
import pytest

from tuner.decisions.history import History, Status
from tuner.decisions.proposers import ModelProposer, RandomProposer
from tuner.decisions.rungs import Rungs
from tuner.unit_cube import Cube, Dimension

RUNGS = Rungs(epochs=(3,), reduction_factor=3)
LINE = Cube((Dimension(), Dimension()))
ANY = lambda point: True  # noqa: E731


def searched(objective, proposer, trials, cube=LINE, status=Status.COMPLETE, seed=0):
    """Make a history of that many proposals, each trained at once; NaN for a lost run."""
    history = History(epochs=9, dimensions=len(cube.dimensions))
    for _ in range(trials):
        point = proposer.propose(history, cube, RUNGS, seed=seed, allowed=ANY)
        number = history.begin(point)
        value = objective(point)
        if np.isnan(value):
            history.set_status(number, Status.LOST)
            continue
        history.report(number, 3, value)
        history.report(number, 9, value)
        history.set_status(number, status)
    return history


def peak(point):
    return -float(((point - np.array([0.3, 0.7])) ** 2).sum())


def test_the_model_comes_closer_to_the_best_than_chance():
    best = {
        type(p).__name__: np.mean([searched(peak, p, 50, seed=s).last.max() for s in range(5)])
        for p in (ModelProposer(), RandomProposer())
    }
    assert best["ModelProposer"] > best["RandomProposer"] / 4  # at half the distance, or less


@pytest.mark.parametrize("proposer", [ModelProposer(), RandomProposer()])
def test_the_same_history_and_seed_give_the_same_point(proposer):
    history = searched(peak, RandomProposer(), 40)
    first, again = (proposer.propose(history, LINE, RUNGS, seed=3, allowed=ANY) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, proposer.propose(history, LINE, RUNGS, seed=4, allowed=ANY))


def test_a_tenth_of_the_proposals_is_random_however_much_is_known():
    history, other = (searched(quality, RandomProposer(), 40) for quality in (peak, lambda point: -peak(point)))

    def proposed(history, seed):
        return ModelProposer().propose(history, LINE, RUNGS, seed=seed, allowed=ANY)

    same = [np.array_equal(proposed(history, seed), proposed(other, seed)) for seed in range(200)]
    assert 8 <= sum(same) <= 36


def test_half_of_the_random_proposals_are_near_the_default_configuration():
    cube = Cube((Dimension(),) * 8)
    history = History(epochs=9, dimensions=8)
    baseline = np.full(8, 0.3)
    history.begin(baseline)
    proposals = [ModelProposer().propose(history, cube, RUNGS, seed=seed, allowed=ANY) for seed in range(100)]
    near = [proposal for proposal in proposals if np.any(proposal == baseline)]
    assert 35 <= len(near) <= 65
    assert np.mean([np.abs(proposal - baseline).max() for proposal in near]) < 0.3
    nowhere = ModelProposer(near_baseline=0.0)
    assert not any(
        np.any(nowhere.propose(history, cube, RUNGS, seed=seed, allowed=ANY) == baseline) for seed in range(40)
    )


def test_the_model_learns_to_avoid_regions_where_runs_are_lost():
    history = searched(lambda point: np.nan if point[0] > 0.5 else point[0], ModelProposer(random_share=0), 80)
    late = history.status[40:] == Status.LOST
    assert late.mean() < 0.2  # chance: 0.5


def test_random_proposals_avoid_regions_where_runs_are_lost():
    history = searched(lambda point: np.nan if point[0] > 0.5 else point[0], RandomProposer(), 60)
    proposals = [ModelProposer(random_share=1).propose(history, LINE, RUNGS, seed=s, allowed=ANY) for s in range(40)]
    assert np.mean([point[0] > 0.55 for point in proposals]) < 0.1  # chance: 0.45


def test_a_configuration_is_proposed_even_if_all_runs_are_lost():
    history = searched(lambda point: np.nan, RandomProposer(), 60)
    points = {tuple(ModelProposer().propose(history, LINE, RUNGS, seed=s, allowed=ANY)) for s in range(10)}
    assert len(points) == 10


def test_the_model_learns_from_trials_that_ended_early():
    history = History(epochs=9, dimensions=2)
    rng = np.random.default_rng(0)
    for point in rng.random((40, 2)):
        history.report(history.begin(point), 3, peak(point))
    history.status[:] = Status.STOPPED
    proposals = [ModelProposer(random_share=0).propose(history, LINE, RUNGS, seed=s, allowed=ANY) for s in range(10)]
    assert np.mean([peak(p) for p in proposals]) > np.quantile(history.last, 0.9)


def test_parallel_proposals_keep_their_distance():
    history = searched(peak, RandomProposer(), 40)
    points = []
    for _ in range(8):
        points.append(ModelProposer(random_share=0).propose(history, LINE, RUNGS, seed=0, allowed=ANY))
        history.begin(points[-1])
    distances = [np.linalg.norm(a - b) for i, a in enumerate(points) for b in points[:i]]
    assert min(distances) > 0.005


@pytest.mark.parametrize("dimensions", [2, 8, 20])
def test_the_model_proposes_no_copies_of_the_best_trials(dimensions):
    cube = Cube((Dimension(),) * dimensions)
    best = np.full(dimensions, 0.4)
    proposer = ModelProposer(random_share=0, near_baseline=0.0)
    history = searched(lambda point: -float(np.abs(point - best).mean()), proposer, 80, cube=cube)
    apart = np.linalg.norm(history.points[:, None] - history.points, axis=2) + 9.0 * np.eye(80)
    least = min(0.09, 0.2 * 80 ** (-1 / dimensions)) * np.sqrt(dimensions)
    assert apart[16:].min() >= least * 0.99
    assert np.median(apart[-20:].min(axis=1)) < 0.4 * np.sqrt(dimensions)  # still closer than chance


def test_a_change_without_effect_is_not_proposed_again():
    """Change the learning rate of an unused optimizer: the configuration stays the same."""
    cube = Cube((Dimension(choices=2), *(Dimension(when=((0, frozenset({1})),)),) * 6, Dimension()))
    proposer = ModelProposer(random_share=0, near_baseline=0.0)
    history = searched(lambda point: -point[0] - abs(point[7] - 0.4), proposer, 60, cube=cube)
    assert len(np.unique(history.points, axis=0)) == 60


def test_the_model_still_proposes_in_a_space_of_few_configurations():
    cube = Cube((Dimension(choices=2), Dimension(choices=3)))
    history = searched(lambda point: point[0], RandomProposer(), 40, cube=cube)
    assert ModelProposer(random_share=0).propose(history, cube, RUNGS, seed=0, allowed=ANY) is not None


def test_excluded_configurations_are_not_proposed():
    history = searched(peak, RandomProposer(), 40)
    for seed in range(5):
        point = ModelProposer().propose(history, LINE, RUNGS, seed=seed, allowed=lambda p: p[0] > 0.8)
        assert point[0] > 0.8
    assert ModelProposer().propose(history, LINE, RUNGS, seed=0, allowed=lambda p: False) is None


def test_points_are_tidy_under_conditions_too():
    cube = Cube((Dimension(choices=3), Dimension(when=((0, frozenset({1})),)), Dimension()))
    history = searched(lambda point: point[2], ModelProposer(), 40, cube=cube)
    assert np.array_equal(cube.tidy(history.points), history.points)
    assert {0.5} < set(history.points[:, 1])


def test_values_before_the_first_rung_do_not_count():
    early, none = History(epochs=9, dimensions=2), History(epochs=9, dimensions=2)
    for point in np.random.default_rng(0).random((40, 2)):
        early.report(early.begin(point), 1, peak(point))
        none.begin(point)
    proposals = [ModelProposer().propose(history, LINE, RUNGS, seed=0, allowed=ANY) for history in (early, none)]
    assert np.array_equal(*proposals)


def test_ten_thousand_trials_do_not_slow_proposals_down():
    """Limit the CPU time, with a wide margin: benchmarks/decisions measures it."""
    history = History(epochs=9, dimensions=2)
    for point in np.random.default_rng(0).random((10_000, 2)):
        history.report(history.begin(point), 3, peak(point))
    proposer = ModelProposer(random_share=0)
    proposer.propose(history, LINE, RUNGS, seed=0, allowed=ANY)
    began_s = time.process_time()
    for seed in range(5):
        proposer.propose(history, LINE, RUNGS, seed=seed, allowed=ANY)
    assert (time.process_time() - began_s) / 5 < 0.1
