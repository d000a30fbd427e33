"""A search gets the table that its setting promises: with or without a default, in seconds or in epochs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decisions.defaults import LCBENCH, default_row
from benchmarks.decisions.tasks import load
from tests.benchmarks.decisions.synthetic import table
from tuner.exceptions import DataError
from tuner.simulation.tables import load_arrays, save_arrays

ADAM8P = ["learning_rate", "beta1", "beta2", "epsilon", "l1", "l2", "linear_decay", "exponential_decay"]
LOW = np.array([1e-8, 0.0005, 0.002, 1e-10, 1e-8, 1e-8, 1e-7, 1e-6])
HIGH = np.array([10.0, 0.9999, 0.999999, 1e3, 10.0, 10.0, 1e-4, 1e-3])


@pytest.fixture
def synthetic(tmp_path) -> Path:
    """Write a table with a default, row 3, to a file."""
    save_arrays(replace(table(), baseline=3, seconds=2 * table().seconds), tmp_path / "synthetic.npz")
    return tmp_path / "synthetic.npz"


def test_a_search_knows_the_default_only_with_first(synthetic):
    assert load(synthetic, default="none", cost="seconds").baseline is None
    assert load(synthetic, default="first", cost="seconds").baseline == 3


def test_with_equal_epochs_each_costs_the_same(synthetic):
    assert np.all(load(synthetic, default="none", cost="seconds").seconds == 2)
    assert np.all(load(synthetic, default="none", cost="epochs").seconds == 1)


def test_simulated_time_adds_up_in_double_precision(tmp_path):
    single = table().seconds.astype(np.float32)
    save_arrays(replace(table(), seconds=single), tmp_path / "single.npz")
    for cost in ("seconds", "epochs"):
        assert load(tmp_path / "single.npz", default="none", cost=cost).seconds.dtype == np.float64


def test_a_table_without_a_default_has_no_search_that_begins_with_it(tmp_path):
    save_arrays(table(), tmp_path / "unknown.npz")
    with pytest.raises(DataError, match="no default configuration"):
        load(tmp_path / "unknown.npz", default="first", cost="seconds")


def test_the_default_of_taskset_is_the_row_nearest_to_adams_published_one(tmp_path):
    random = np.random.default_rng(0)
    values = np.exp(random.uniform(np.log(LOW), np.log(HIGH), (50, 8)))
    values[:2] = LOW, HIGH  # the table spans its whole ranges
    values[20] = [1e-3, 0.9, 0.999, 1e-8, 1e-8, 1e-8, 1e-7, 1e-6]
    np.savez(tmp_path / "task.npz", hp_names=ADAM8P, config=values, valid_loss=random.random((50, 5)))
    assert load(tmp_path / "task.npz", default="first", cost="seconds").baseline == 20


def test_the_place_of_adams_default_is_that_of_a_row_with_its_values(tmp_path):
    random = np.random.default_rng(1)
    values = np.stack([LOW, HIGH, [1e-3, 0.9, 0.999, 1e-8, *LOW[4:]]])
    np.savez(tmp_path / "task.npz", hp_names=ADAM8P, config=values, valid_loss=random.random((3, 5)))
    searched = load_arrays(tmp_path / "task.npz")
    assert default_row(tmp_path / "task.npz", searched) == 2


def test_the_default_of_lcbench_is_the_row_nearest_to_usual_values(tmp_path):
    random = np.random.default_rng(0)
    points = random.random((80, len(LCBENCH)))
    points[30] = [0.4, 0.492, 0.899, 0.0009, 0.5, 0.5, 0.2]
    searched = replace(table(), points=points, choices=(0,) * len(LCBENCH))
    save_arrays(searched, tmp_path / "lcbench-1.npz")
    assert load(tmp_path / "lcbench-1.npz", default="first", cost="seconds").baseline == 30


def test_a_default_that_a_table_names_counts_more_than_its_name(tmp_path):
    save_arrays(replace(table(), baseline=3), tmp_path / "lcbench-1.npz")
    assert load(tmp_path / "lcbench-1.npz", default="first", cost="seconds").baseline == 3
