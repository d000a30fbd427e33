"""A collection runs each missing search once, and reports it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decisions.environments import ROOT
from benchmarks.decisions.results import Key, Setting, read
from benchmarks.decisions.run import Batch, _as_arrays, carry_out, plan
from benchmarks.decisions.run_one import seed_of
from tuner.curve_table.reader import read_curves
from tuner.simulation.tables import load_arrays

ONE, TWO = Path("/family/one.npz"), Path("/family/two.npz")
SETTING = Setting(workers=4, budget=20.0, default="none", cost="seconds")
DETECTOR = ROOT / "benchmarks/decisions/detector_table/detector.parquet"


@pytest.fixture
def taskset(tmp_path) -> Path:
    """Make a folder with two tables like TaskSet's, but with hyper-parameters other than Adam's."""
    random = np.random.default_rng(0)
    folder = tmp_path / "taskset"
    folder.mkdir()
    for name in ("one", "two"):
        np.savez(
            folder / f"{name}.npz",
            hp_names=["learning_rate", "beta1"],
            config=random.uniform(0.001, 0.9, (30, 2)),
            valid_loss=random.random((30, 5)) + np.linspace(1, 0, 5),
        )
    return folder


def command(module: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", f"benchmarks.decisions.{module}", *map(str, options)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(arguments, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


def key(task: str, method: str, seed: int, setting: Setting = SETTING) -> Key:
    return Key("family", task, method, seed, setting)


def batch(method: str, *searches: tuple[int, Path], setting: Setting = SETTING) -> Batch:
    return Batch(method=method, setting=setting, searches=searches)


def test_a_few_seeds_with_all_methods_and_settings_come_before_the_next_seeds():
    settings = [SETTING, SETTING._replace(default="first")]
    batches = list(plan([ONE, TWO], ["a", "b"], settings, seeds=7, done=set()))
    assert batches == [
        batch(method, *((seed, table) for seed in seeds for table in (ONE, TWO)), setting=setting)
        for seeds in (range(5), range(5, 7))
        for method in ("a", "b")
        for setting in settings
    ]


def test_finished_searches_are_left_out():
    done = {key("one", "a", 0), key("one", "a", 1), key("two", "a", 1)}
    assert list(plan([ONE, TWO], ["a"], [SETTING], seeds=2, done=done)) == [batch("a", (0, TWO))]
    assert not list(plan([ONE, TWO], ["a"], [SETTING], seeds=2, done=done | {key("two", "a", 0)}))


@pytest.mark.parametrize(
    "change", [{"workers": 1}, {"budget": 10.0}, {"default": "first"}, {"cost": "epochs"}], ids=str
)
def test_a_search_that_finished_in_another_setting_is_still_missing(change):
    done = {key("one", "a", 0, SETTING._replace(**change))}
    assert list(plan([ONE], ["a"], [SETTING], seeds=1, done=done)) == [batch("a", (0, ONE))]


def test_a_task_of_another_family_is_another_task():
    assert list(plan([Path("/other/one.npz")], ["a"], [SETTING], seeds=1, done={key("one", "a", 0)}))


def test_a_seed_gives_other_draws_for_another_task():
    seeds = {seed_of(task, seed) for task in ("one", "two") for seed in range(20)}
    assert len(seeds) == 40
    assert max(seeds) < 2**31  # what every library takes
    assert seed_of("one", 0) == 2113684794  # or existing results would belong to other draws


def test_a_collection_resumes_where_it_stopped_and_is_reported(taskset):
    out = taskset.parent / "results.jsonl"
    options = ("--tables", taskset, "--default", "none", "--methods", "random", "optuna-tpe-sha", "--budget", "5")
    assert command("run", *options, "--out", out, "--seeds", "1").returncode == 0
    first = read(out)
    assert command("run", *options, "--out", out, "--seeds", "2").returncode == 0
    found = read(out)
    assert found[: len(first)] == first
    assert {run.key for run in found} == {
        Key("taskset", task, method, seed, SETTING._replace(budget=5.0))
        for task in ("one", "two")
        for method in ("random", "optuna-tpe-sha")
        for seed in (0, 1)
    }
    assert all(set(run.regret) == set(range(5, 101, 5)) for run in found)

    reported = command("report", out, "--budget", "5", "--against", "random", "--markdown")
    assert reported.returncode == 0, reported.stderr
    assert "## taskset, default none, regret over seconds" in reported.stdout
    assert "| random " in reported.stdout
    assert "Regret less that of random" in reported.stdout
    assert "| taskset 25 % |" in reported.stdout


def test_one_collection_has_both_defaults_and_both_costs(tmp_path):
    out = tmp_path / "results.jsonl"
    options = (
        "--tables",
        DETECTOR,
        "--default",
        "none",
        "first",
        "--methods",
        "random",
        "--seeds",
        "1",
        "--budget",
        "5",
    )
    for more in ([], ["--equal-epochs"]):
        assert command("run", *options, *more, "--out", out).returncode == 0
    assert {(run.key.family, run.key.task, run.key.setting.default, run.key.setting.cost) for run in read(out)} == {
        ("detector", "detector", default, cost) for default in ("none", "first") for cost in ("seconds", "epochs")
    }


def test_a_table_without_a_default_is_refused_before_any_search(taskset):
    refused = command("run", "--tables", taskset, "--default", "first", "--out", taskset.parent / "results.jsonl")
    assert refused.returncode == 1
    assert "one.npz' has no default configuration; give --default none" in refused.stderr


def test_a_folder_without_tables_is_refused(tmp_path):
    refused = command("run", "--tables", tmp_path, "--out", tmp_path / "results.jsonl")
    assert refused.returncode == 1
    assert "--tables must name npz files" in refused.stderr


def test_a_failed_search_is_reported_and_records_nothing(tmp_path):
    failure = carry_out(batch("random", (0, tmp_path / "missing.npz")), tmp_path / "results.jsonl")
    assert failure is not None
    assert "missing.npz" in failure
    assert read(tmp_path / "results.jsonl") == []


def test_a_reference_without_results_is_refused(tmp_path):
    refused = command("report", tmp_path / "results.jsonl", "--against", "random")
    assert refused.returncode == 1
    assert "--against must be a method with results" in refused.stderr


def test_a_parquet_table_is_written_as_arrays_with_the_same_content(tmp_path):
    arrays = _as_arrays(DETECTOR, tmp_path / "results")
    assert arrays.relative_to(tmp_path) == Path("results/detector/detector.npz")  # its family is `detector`
    original, again = read_curves(DETECTOR), load_arrays(arrays)
    for name in ("points", "metric", "loss", "seconds"):
        assert np.array_equal(getattr(again, name), getattr(original, name), equal_nan=True)
    assert (again.choices, again.conditions, again.baseline) == (original.choices, original.conditions, 0)
    assert again.warm_up_epochs == original.warm_up_epochs > 0
