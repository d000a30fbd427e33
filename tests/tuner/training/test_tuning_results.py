"""Read results of ultralytics' tuner: formats of all versions, the best first, and a reason for each line left out."""

import json
import subprocess
import sys

import pytest

from tests.support.ultralytics_files import TUNED, tune_results_csv, tune_results_line
from tuner.exceptions import UsageError
from tuner.training.tuning_results import read_tuning_results

DEFAULTS = TUNED["8.4.0"]


def of(tmp_path, text, name="tune_results.ndjson"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_tuning_results(path)


def rates(results):
    return [candidate.values["lr0"] for candidate in results.source.ranked]


def reasons(results):
    return [(each.line, each.reason) for each in results.left_out]


def lines(*fitness, **more):
    return "".join(tune_results_line(f, {**DEFAULTS, "lr0": i / 100}, **more) for i, f in enumerate(fitness, start=1))


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_both_formats_are_ranked_by_fitness_and_the_earlier_comes_first_on_a_tie(tmp_path, form):
    fitness = (0.2, 0.4, 0.3, 0.4)
    old = tune_results_csv([(f, {**TUNED["8.2"], "lr0": i / 100}) for i, f in enumerate(fitness, start=1)])
    results = of(tmp_path, old if form == "csv" else lines(*fitness), f"tune_results.{form}")
    assert rates(results) == [0.02, 0.04, 0.03, 0.01]
    assert (results.iterations, results.left_out, results.notes) == (4, (), ())
    first = results.source.ranked[0]
    assert first.origin == f"fitness 0.4000, tune_results.{form}:{3 if form == 'csv' else 2}"
    assert first.values["mosaic"] == 1.0


@pytest.mark.parametrize("version", TUNED)
def test_whole_numbers_of_every_version_are_read_as_in_training(tmp_path, version):
    (candidate,) = of(tmp_path, tune_results_csv([(0.5, TUNED[version])]), "tune_results.csv").source.ranked
    assert candidate.values.get("close_mosaic", 9) == 9
    assert isinstance(candidate.values.get("close_mosaic", 9), int)


def test_iterations_that_failed_or_learnt_nothing_are_left_out(tmp_path):
    results = of(tmp_path, lines(0.0, 0.3, float("nan"), -0.1).replace('"fitness": 0.0,', '"fitness": null,', 1))
    assert rates(results) == [0.02]
    assert [(line, said.split(":")[0]) for line, said in reasons(results)] == [
        (1, "fitness nan"),
        (3, "fitness nan"),
        (4, "fitness -0.1"),
    ]


def test_the_mean_of_several_data_sets_counts_and_a_failed_one_excludes_the_iteration(tmp_path):
    several = {"data": ["one", "two"]}
    results = of(tmp_path, lines(0.3, **several) + lines(0.4, **several, failed=["two"]))
    assert rates(results) == [0.01]
    assert reasons(results) == [(2, "training failed on two")]
    assert results.notes == ("Fitness is the mean over 2 data sets.",)


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_truncated_last_line_is_left_out(tmp_path, cut):
    results = of(tmp_path, lines(0.3) + lines(0.4)[:cut])
    assert rates(results) == [0.01]
    assert reasons(results) == [(2, "cut off: the tuning was stopped, or is still running")]


def test_a_last_row_without_its_end_may_lack_digits_and_is_left_out(tmp_path):
    results = of(tmp_path, "fitness,lr0\n0.3,0.01\n0.4,0.0", "tune_results.csv")
    assert rates(results) == [0.01]
    assert reasons(results) == [(3, "cut off: the tuning was stopped, or is still running")]


def test_a_truncated_character_affects_no_other_line(tmp_path):
    assert rates(of(tmp_path, lines(0.3).encode() + b'{"iteration": "\xe2\x9c')) == [0.01]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1, 2]\n", "no record of an iteration with `hyperparameters`"),
        ("{}\n", "no record of an iteration with `hyperparameters`"),
        ("nonsense\n", "damaged"),
        ("[" * 100_000 + "\n", "damaged"),
        (tune_results_line(0.4, {"lr0": [0.1, 0.2]}), "`lr0` is not one value"),
        (tune_results_line(0.4, {"optimizer": "auto"}), "`optimizer` must be named, but got 'auto'"),
    ],
    ids=["list", "empty", "no json", "deep", "range", "auto"],
)
def test_a_damaged_line_is_left_out_wherever_it_is(tmp_path, line, said):
    results = of(tmp_path, line + lines(0.3))
    assert rates(results) == [0.01]
    assert reasons(results)[0][1].startswith(said)


def test_a_row_with_other_cells_is_left_out(tmp_path):
    results = of(tmp_path, "fitness,lr0\n0.3,0.01\n0.4\n0.5,much\n0.6,0.02,3\n", "tune_results.csv")
    assert reasons(results) == [(3, "damaged"), (4, "`lr0` is not a number"), (5, "damaged")]


def test_a_number_with_hundreds_of_digits_is_no_problem(tmp_path):
    line = tune_results_line(0.4, {"lr0": 0.1, "box": 7.5}).replace("7.5", "1" * 4000)
    assert of(tmp_path, line).source.ranked[0].values["box"] == float("inf")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("results.csv", "epoch,time,train/box_loss\n1,2,3\n", "must have a column `fitness`, but .*: epoch, time"),
        ("tune_results.csv", "", "must have a column `fitness`, but .* other columns: none"),
        ("tune_results.csv", "fitness,lr0\n", "must have an iteration that trained, but .* has none"),
        ("tune_results.ndjson", "", "must have an iteration that trained, but .* has none"),
        ("tune_results.ndjson", lines(0.0), "has none: line 1: fitness 0: training failed, or learned nothing"),
    ],
)
def test_a_file_without_a_usable_iteration_is_refused(tmp_path, name, text, said):
    with pytest.raises(UsageError, match=said):
        of(tmp_path, text, name)


def test_an_unreadable_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_tuning_results(tmp_path / "gone.csv")
    (tmp_path / "tune.ndjson").mkdir()
    with pytest.raises(UsageError, match="is a folder; give the file in it"):
        read_tuning_results(tmp_path / "tune.ndjson")


_WRITE = """
import json, sys, types
from ultralytics.engine.tuner import Tuner
tuner = Tuner({"task": "detect", "project": sys.argv[1], "name": "tune"}, model=object())
tuner.tune_dir.mkdir(parents=True)
for iteration in range(3):
    values = tuner._mutate()
    tuner._save_local_result(tuner._result_record(
        iteration + 1, 0.1 * (iteration + 1), values, {"a": {"fitness": 0.1}}, {"a": "runs/a"}, []))
print(tuner.tune_file)
print(json.dumps(values))
"""


def test_a_file_of_the_installed_ultralytics_is_read_completely(tmp_path):
    script = [sys.executable, "-c", _WRITE, str(tmp_path / "runs")]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *_, file, last = done.stdout.splitlines()
    results = read_tuning_results(tmp_path / file)
    assert (results.iterations, results.left_out) == (3, ())
    assert results.source.ranked[0].values == json.loads(last)
