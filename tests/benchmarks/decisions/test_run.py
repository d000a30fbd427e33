"""What is still to be done is done, once, and reported."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decisions.environments import ROOT
from benchmarks.decisions.report import as_columns, as_markdown
from benchmarks.decisions.results import Key, read
from benchmarks.decisions.run import Batch, _as_arrays, carry_out, plan
from benchmarks.decisions.run_one import seed_of
from tuner.curve_table.reader import read_curves
from tuner.simulation.tables import load_arrays

ONE, TWO = Path("/tables/one.npz"), Path("/tables/two.npz")


@pytest.fixture
def taskset(tmp_path) -> Path:
    """A folder with two tables as TaskSet's are."""
    random = np.random.default_rng(0)
    for name in ("one", "two"):
        np.savez(
            tmp_path / f"{name}.npz",
            hp_names=["learning_rate", "beta1"],
            config=random.uniform(0.001, 0.9, (30, 2)),
            valid_loss=random.random((30, 5)) + np.linspace(1, 0, 5),
        )
    return tmp_path


def command(module: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", f"benchmarks.decisions.{module}", *map(str, options)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def batch(method: str, seed: int, *tables: Path) -> Batch:
    return Batch(method=method, seed=seed, tables=tables, workers=4, budget=20.0)


def test_all_methods_with_one_seed_come_before_the_next_seed():
    batches = list(plan([ONE, TWO], ["a", "b"], seeds=2, workers=4, budget=20.0, done=set()))
    assert batches == [batch(method, seed, ONE, TWO) for seed in (0, 1) for method in ("a", "b")]


def test_what_is_done_is_left_out():
    done = {Key("one", "a", 0, 4, 20.0), Key("one", "a", 1, 4, 20.0), Key("two", "a", 1, 4, 20.0)}
    batches = list(plan([ONE, TWO], ["a"], seeds=2, workers=4, budget=20.0, done=done))
    assert batches == [batch("a", 0, TWO)]


def test_another_budget_or_number_of_workers_is_another_run():
    done = {Key("one", "a", 0, 1, 20.0), Key("one", "a", 0, 4, 10.0)}
    assert list(plan([ONE], ["a"], seeds=1, workers=4, budget=20.0, done=done)) == [batch("a", 0, ONE)]


def test_the_same_seed_draws_something_else_for_another_task():
    seeds = {seed_of(task, seed) for task in ("one", "two") for seed in range(20)}
    assert len(seeds) == 40
    assert max(seeds) < 2**31  # what every library takes
    assert seed_of("one", 0) == 2113684794  # or results that are there would be another draw's


def test_a_collection_goes_on_where_it_stopped_and_is_reported(taskset):
    out = taskset / "results.jsonl"
    options = ("--taskset", taskset, "--methods", "random", "optuna-tpe-sha", "--budget", "5", "--out", out)
    assert command("run", *options, "--seeds", "1").returncode == 0
    first = read(out)
    assert command("run", *options, "--seeds", "2").returncode == 0
    found = read(out)
    assert found[: len(first)] == first
    assert {(run.key.task, run.key.method, run.key.seed) for run in found} == {
        (task, method, seed) for task in ("one", "two") for method in ("random", "optuna-tpe-sha") for seed in (0, 1)
    }
    assert all(set(run.regret) == set(range(5, 101, 5)) for run in found)

    reported = command("report", out, "--budget", "5", "--against", "random", "--markdown")
    assert reported.returncode == 0, reported.stderr
    assert "| random " in reported.stdout
    assert "Regret less that of random" in reported.stdout


def test_a_search_that_fails_is_told_and_notes_nothing(tmp_path):
    failure = carry_out(batch("random", 0, tmp_path / "missing.npz"), tmp_path / "results.jsonl")
    assert failure is not None
    assert "missing.npz" in failure
    assert read(tmp_path / "results.jsonl") == []


def test_a_reference_without_results_is_refused(tmp_path):
    refused = command("report", tmp_path / "results.jsonl", "--against", "random")
    assert refused.returncode == 1
    assert "--against must be a method with results" in refused.stderr


def test_tables_align_names_left_and_values_right():
    headers, rows = ["method", "10 %"], [["a", "0.123"], ["longer one", "1"]]
    assert as_columns(headers, rows).splitlines() == ["method       10 %", "a           0.123", "longer one      1"]
    assert as_markdown(headers, rows).splitlines() == [
        "| method     |  10 % |",
        "| ---------- | ----: |",
        "| a          | 0.123 |",
        "| longer one |     1 |",
    ]


def test_a_parquet_table_is_written_as_arrays_that_say_the_same(tmp_path):
    parquet = ROOT / "benchmarks/decisions/detector_table/detector.parquet"
    arrays = _as_arrays(parquet, tmp_path / "results", equal_epochs=False)
    original, again = read_curves(parquet), load_arrays(arrays)
    for name in ("points", "metric", "loss", "seconds"):
        assert np.array_equal(getattr(again, name), getattr(original, name), equal_nan=True)
    assert (again.choices, again.conditions, again.baseline) == (original.choices, original.conditions, 0)
    assert again.warm_up_epochs == original.warm_up_epochs > 0


def test_times_of_a_busy_machine_may_be_left_out(tmp_path):
    parquet = ROOT / "benchmarks/decisions/detector_table/detector.parquet"
    table = load_arrays(_as_arrays(parquet, tmp_path, equal_epochs=True))
    assert np.all(table.seconds == 1)
