"""The end-to-end benchmark reads what each tool writes, accounts for all wall time, and pairs what it compares."""

import json
import os
import sys
import time
from dataclasses import replace

import psutil
import pytest

from benchmarks.end_to_end.phases import Epoch, Watch, divide, rows_of_csv, rows_of_records
from benchmarks.end_to_end.report import differences, report, values
from benchmarks.end_to_end.results import Results, append, read
from benchmarks.end_to_end.retraining import DEFAULT, SEEDS, Retraining, default_of, planned
from benchmarks.end_to_end.running import Search, run_for
from benchmarks.end_to_end.setup import Task
from benchmarks.end_to_end.tools import TOOLS, Genetic, HandOver, RayTune

# The first columns that ultralytics 8.4.190 wrote; the last line was being written.
CSV = """epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/mAP50-95(B)
1,2.02095,6.0674,0.74183,2.73029,0.00021
2,4.18055,3.61389,0.61115,1.69046,0
3,6.1"""

RECORDS = (
    '{"version":1,"type":"epoch","epoch":1,"losses":{"box":6.155},"metrics":null,"seconds":1.0231,"memory_gib":0.54}\n'
    '{"version":1,"type":"epoch","epoch":2,"losses":{"box":5.756},"metrics":null,"seconds":0.9722,"memory_gib":0.59}\n'
    '{"version":1,"type":"epo'
)

TUNE, RAY, GENETIC = list(TOOLS)[:3]


def epoch(began_s: float, ended_s: float, run: str = "a") -> Epoch:
    return Epoch(run=run, number=1, ended_s=ended_s, seconds=ended_s - began_s)


def made_search(tool: str, repetition: int, params: dict[str, float] | None = None) -> Search:
    return Search(
        task=Task(),
        tool=tool,
        repetition=repetition,
        hand_over=HandOver(params=params or {}, said=0.2, comment="a verdict"),
        exit_code=None,
        wall_s=300.0,
        phases=divide([epoch(10, 110), epoch(100, 250)], 0, 300),
        trials=2,
        epochs=54,
        reevaluation_epochs=0,
    )


def made_retraining(tool: str, repetition: int | None, seed: int, value: float) -> Retraining:
    return Retraining(task=Task(), tool=tool, repetition=repetition, seed=seed, params={}, value=value)


def test_the_seconds_of_an_epoch_are_read_from_both_files_without_a_line_that_is_cut_off():
    assert rows_of_csv(CSV) == [(1, 2.02095), (2, pytest.approx(2.1596))]
    assert rows_of_records(RECORDS) == [(1, 1.0231), (2, 0.9722)]
    assert rows_of_csv("") == rows_of_csv("epoch,ti") == rows_of_records("") == []


def test_each_epoch_is_seen_once_and_the_last_one_ended_when_its_file_was_written(tmp_path):
    file = tmp_path / "runs/tune_1/results.csv"
    file.parent.mkdir(parents=True)
    watch = Watch(tmp_path, ["runs/**/results.csv"], rows_of_csv)
    watch.look()
    file.write_text(CSV)
    os.utime(file, (1000.0, 1000.0))
    watch.look()
    watch.look()
    assert [(e.run, e.number, e.ended_s) for e in watch.epochs] == [
        ("runs/tune_1", 1, pytest.approx(1000 - 2.1596)),
        ("runs/tune_1", 2, 1000.0),
    ]
    file.write_text(f"{CSV}8055,3.2,0.6,1.6,0.001\n")
    os.utime(file, (1002.0, 1002.0))
    watch.look()
    assert [(e.number, e.ended_s) for e in watch.epochs[2:]] == [(3, 1002.0)]


@pytest.mark.parametrize("is_seen_missing", [True, False])
def test_a_folder_that_is_used_again_is_another_run(tmp_path, is_seen_missing):
    file = tmp_path / "results.csv"
    watch = Watch(tmp_path, ["results.csv"], rows_of_csv)
    file.write_text(CSV)
    watch.look()
    if is_seen_missing:
        file.unlink()
        watch.look()
    file.write_text("".join(CSV.splitlines(keepends=True)[:2]))
    watch.look()
    assert [(e.run, e.number) for e in watch.epochs] == [(".", 1), (".", 2), (".#1", 1)]


def test_the_phases_add_up_and_trainers_at_once_count_once_as_training():
    phases = divide([epoch(20, 30), epoch(10, 25, "b"), epoch(40, 50), epoch(42, 44, "b")], began_s=3, ended_s=53)
    assert (phases.start_s, phases.training_s, phases.idle_s, phases.end_s) == (7, 30, 10, 3)
    assert phases.trainer_s == 10 + 15 + 10 + 2


def test_without_an_epoch_all_time_is_the_start_and_nothing_counts_beyond_the_budget():
    assert divide([], 3, 53).start_s == 50
    phases = divide([epoch(40, 60)], 3, 53)
    assert (phases.training_s, phases.end_s, phases.trainer_s) == (13, 0, 13)


def test_the_genetic_tuner_hands_over_the_file_that_it_writes_after_each_iteration(tmp_path):
    (tmp_path / "runs/tune").mkdir(parents=True)
    assert Genetic().hand_over(tmp_path) == HandOver(params={"optimizer": "AdamW"}, said=None)
    (tmp_path / "runs/tune/best_hyperparameters.yaml").write_text("# 2/300 iterations\nlr0: 1e-05\nclose_mosaic: 9\n")
    (tmp_path / "runs/tune/tune_results.ndjson").write_text(
        '{"iteration": 1, "fitness": 1e-05}\n{"iteration": 2, "fitness": 0.00021}\n{"iteration": 3, "fitn'
    )
    found = Genetic().hand_over(tmp_path)
    assert found == HandOver(params={"optimizer": "AdamW", "lr0": 1e-5, "close_mosaic": 9}, said=0.00021)


def test_ray_hands_over_the_trial_with_the_best_epoch_even_if_it_is_running(tmp_path):
    assert RayTune().hand_over(tmp_path).said is None
    for name, lr0, curve in (("_tune_a", 0.001, (0.1, 0.12)), ("_tune_b", 0.002, (0.15, 0.11)), ("_tune_c", 0.003, ())):
        trial = tmp_path / "runs/tune" / name
        trial.mkdir(parents=True)
        reports = [json.dumps({"metrics/mAP50-95(B)": value, "epoch": n}) for n, value in enumerate(curve, start=1)]
        (trial / "result.json").write_text("".join(f"{line}\n" for line in reports) + '{"metrics/mAP50-95(B)": 0.9')
        (trial / "params.json").write_text(json.dumps({"data": "dataset.yaml", "lr0": lr0}))
    found = RayTune().hand_over(tmp_path)
    assert found == HandOver(params={"optimizer": "AdamW", "lr0": 0.002}, said=0.15)


def test_a_command_that_runs_out_of_time_is_killed_with_all_that_it_started(tmp_path):
    sleep = ["sleep", f"60.{os.getpid()}"]  # no other process has this command line
    child = f"import subprocess; subprocess.Popen({sleep}, start_new_session=True).wait()"
    began_s = time.monotonic()
    watch = Watch(tmp_path, [], rows_of_csv)
    code = run_for(1.0, [sys.executable, "-c", child], tmp_path, dict(os.environ), watch, tmp_path / "log")
    assert code is None
    assert time.monotonic() - began_s < 10
    assert [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == sleep] == []


def test_a_command_that_ends_in_time_keeps_its_exit_code(tmp_path):
    watch = Watch(tmp_path, [], rows_of_csv)
    assert run_for(30.0, ["sh", "-c", "exit 7"], tmp_path, dict(os.environ), watch, tmp_path / "log") == 7


def test_each_configuration_and_each_default_once_is_trained_on_the_same_seeds():
    searches = [made_search(tool, repetition) for repetition in (0, 1) for tool in (TUNE, RAY)]
    runs = planned(searches)
    expected = {(DEFAULT, None), (default_of("full"), None), *((s.tool, s.repetition) for s in searches)}
    first = runs[: len(expected)]
    assert {(run.tool, run.repetition) for run in first} == expected
    assert [run.seed for run in runs] == [seed for seed in SEEDS for _ in expected]
    assert len({run.key for run in runs}) == len(runs)


def test_results_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "new/results.jsonl"
    assert read(file) == Results(searches=[], retrainings=[])
    search, run = made_search(RAY, 1, {"lr0": 0.001}), made_retraining(DEFAULT, None, 101, 0.25)
    append(file, search)
    append(file, run)
    assert read(file) == Results(searches=[search], retrainings=[run])
    assert {search.task: 1}[read(file).searches[0].task] == 1


def test_differences_are_of_the_same_repetition_and_seed_and_a_default_counts_in_each():
    runs = [
        *(made_retraining(TUNE, repetition, seed, 0.3 + repetition / 10) for repetition in (0, 1) for seed in (1, 2)),
        *(made_retraining(RAY, 1, seed, 0.1 * seed) for seed in (2, 3)),
        *(made_retraining(DEFAULT, None, seed, 0.2) for seed in (1, 2)),
        replace(made_retraining(RAY, 1, 1, 0.9), task=Task(budget_s=10)),
    ]
    ours, ray, default = (values(runs, Task(), tool) for tool in (TUNE, RAY, DEFAULT))
    assert differences(ours, ray) == {"1": [pytest.approx(0.2)]}
    assert differences(ours, default) == {"0": [pytest.approx(0.1)] * 2, "1": [pytest.approx(0.2)] * 2}


def test_the_report_has_a_row_for_each_configuration_and_for_each_search():
    searches = [made_search(tool, repetition) for repetition in (0, 1) for tool in (TUNE, RAY)]
    level = {(TUNE, 0): 0.31, (TUNE, 1): 0.33, (RAY, 0): 0.21, (RAY, 1): 0.23, (DEFAULT, None): 0.25}
    runs = [made_retraining(*key, seed, value) for key, value in level.items() for seed in SEEDS]
    text = report(Results(searches=searches, retrainings=runs))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rows = {row[0]: row[1:] for row in cells[2:5]}
    assert rows[TUNE] == ["0.310 / 0.330", "0.320 [0.310, 0.330]", "+0.070 [+0.060, +0.080]", ""]
    assert rows[RAY] == ["0.210 / 0.230", "0.220 [0.210, 0.230]", "-0.030 [-0.040, -0.020]", "+0.100 [+0.100, +0.100]"]
    assert rows[DEFAULT] == ["0.250", "0.250 [0.250, 0.250]", "", "+0.070 [+0.060, +0.080]"]
    assert cells[7] == [TUNE, "0", "300", "10", "240", "0", "50", "0.83", "2", "54", "0.200"]
    assert [row[0] for row in cells[7:]] == [TUNE, TUNE, RAY, RAY]
