"""Use the unit cube of a search."""

import numpy as np

from tuner.unit_cube import Cube, Dimension

# one of three optimizers, a momentum that only the second has, one of two batch sizes, a range
CUBE = Cube((Dimension(choices=3), Dimension(when=((0, frozenset({1})),)), Dimension(choices=2), Dimension()))


def test_choices_lie_in_the_middle_of_their_bins():
    tidied = CUBE.tidy(np.array([[0.0, 0.2, 0.99, 0.3], [1.0, 0.2, 0.0, 0.3]]))
    assert np.allclose(tidied[:, 0], [1 / 6, 5 / 6])
    assert np.allclose(tidied[:, 2], [0.75, 0.25])
    assert np.allclose(tidied[:, 3], 0.3)


def test_a_missing_value_is_a_half():
    tidied = CUBE.tidy(np.array([[0.5, 0.2, 0.0, 0.0], [0.9, 0.2, 0.0, 0.0]]))
    assert tidied[:, 1].tolist() == [0.2, 0.5]


def test_a_condition_on_a_missing_value_does_not_hold():
    chain = Cube(
        (
            Dimension(choices=2),
            Dimension(choices=2, when=((0, frozenset({1})),)),
            Dimension(when=((1, frozenset({0})),)),
        )
    )
    assert chain.tidy(np.array([[0.0, 0.0, 0.9], [0.9, 0.0, 0.9]]))[:, 2].tolist() == [0.5, 0.9]


def test_tidy_points_stay_as_they_are():
    points = CUBE.random(np.random.default_rng(0), 100)
    assert np.array_equal(CUBE.tidy(points), points)
    near = CUBE.near(np.random.default_rng(1), points, 100, reach=0.1)
    assert np.array_equal(CUBE.tidy(near), near)


def test_two_choices_are_one_apart_and_a_missing_value_is_equally_far_from_all():
    a, b, c = CUBE.features(CUBE.tidy(np.array([[0.0, 0.5, 0, 0.1], [0.9, 0.5, 0, 0.1], [0.9, 0.5, 0, 0.4]])))
    assert np.isclose(np.linalg.norm(a - b), 1.0)
    assert np.isclose(np.linalg.norm(b - c), 0.3)
    none, first, second = Cube((Dimension(choices=2),)).features(np.array([[0.5], [0.25], [0.75]]))
    assert np.isclose(np.linalg.norm(none - first), np.linalg.norm(none - second))


def test_a_near_point_is_never_the_same_point():
    line = Cube((Dimension(),))
    near = line.near(np.random.default_rng(0), np.array([[0.4]]), 200, reach=0.1)
    assert np.all(near != 0.4)


def test_near_points_are_nearer_than_random_ones_and_inside():
    origin = np.array([[1 / 6, 0.5, 0.25, 0.95]])
    near = CUBE.near(np.random.default_rng(0), origin, 500, reach=0.05)
    assert np.all((near >= 0) & (near <= 1))
    assert np.mean(np.abs(near[:, 3] - 0.95) < 0.15) > 0.6
