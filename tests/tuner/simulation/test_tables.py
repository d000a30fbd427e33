"""Tables: dead runs, regret, and reading."""

from dataclasses import replace

import numpy as np
import pytest

from tuner.exceptions import DataError
from tuner.simulation.tables import load_arrays, save_arrays


@pytest.mark.parametrize(
    ("loss", "dead_from"),
    [
        ([1.0, 0.5, 0.4], 4),
        ([1.0, np.nan, np.nan], 2),
        ([1.0, 1.6, 0.9], 4),  # it recovered
        ([1.0, 1.4, 1.6], 3),
        ([1.0, np.inf, 0.9], 4),
        ([np.nan, np.nan, np.nan], 1),
    ],
)
def test_a_run_is_dead_from_where_its_loss_stays_above_one_and_a_half_times_the_first(table, loss, dead_from):
    assert table([[0.1, 0.2, 0.3]], loss=[loss]).dead_from.tolist() == [dead_from]


def test_regret_is_relative_to_that_of_the_median(table):
    made = table([[0.1], [0.5], [0.9]])
    assert [made.regret(row) for row in (2, 1, 0, None)] == [0.0, 1.0, 1.0, 1.0]
    assert table([[0.1], [0.5], [0.7], [0.9], [0.0]]).regret(2) == pytest.approx(0.5)


def test_a_run_that_diverged_is_as_bad_as_can_be(table):
    assert table([[np.nan], [0.5], [0.9]]).regret(0) == 1.0


def losses(path, **changes):
    arrays = {
        "hp_names": np.array(["learning_rate", "beta1"]),
        "config": np.array([[1e-4, 0.9], [1e-2, 0.99], [1e-3, 0.999]]),
        "valid_loss": np.array([[3.0, 2.0], [3.0, np.nan], [3.0, 1.0]], np.float32),
    }
    np.savez(path, **{**arrays, **changes})
    return path


def test_losses_are_on_logarithmic_scales_and_betas_by_their_distance_from_one(tmp_path):
    made = load_arrays(losses(tmp_path / "t.npz"))
    assert np.allclose(made.points, [[0.0, 1.0], [1.0, 0.5], [0.5, 0.0]])
    assert (made.name, made.epochs) == ("t", 2)
    assert made.final.tolist() == [-2.0, -np.inf, -1.0]


def test_a_table_is_read_back_as_it_was_saved(tmp_path, smooth):
    save_arrays(smooth, tmp_path / "t.npz")
    again = load_arrays(tmp_path / "t.npz")
    assert np.array_equal(again.metric, smooth.metric, equal_nan=True)
    assert (again.choices, again.conditions, again.baseline) == (smooth.choices, (), None)


def test_tables_of_single_precision_are_read_in_double(tmp_path, smooth):
    """Use double precision, because simulated time adds up thousands of epochs."""
    single = {name: getattr(smooth, name).astype(np.float32) for name in ("points", "metric", "loss", "seconds")}
    save_arrays(replace(smooth, **single), tmp_path / "t.npz")
    again = load_arrays(tmp_path / "t.npz")
    assert {getattr(again, name).dtype for name in single} == {np.dtype(np.float64)}


@pytest.mark.parametrize(
    "change",
    [{"valid_loss": np.zeros(3)}, {"config": np.array([[0.0, 0.9]] * 3)}, {"hp_names": np.array(["a"])}],
    ids=["no curves", "a zero", "a name missing"],
)
def test_a_file_that_is_not_a_table_is_refused(tmp_path, change):
    with pytest.raises(DataError, match="must be an npz file"):
        load_arrays(losses(tmp_path / "t.npz", **change))


def test_a_file_that_is_not_an_archive_is_refused(tmp_path):
    (tmp_path / "t.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="must be an npz file"):
        load_arrays(tmp_path / "t.npz")
