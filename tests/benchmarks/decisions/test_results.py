"""The file of results survives a killed writer."""

import pytest

from benchmarks.decisions.results import Key, Setting, append, as_line, read

SETTING = Setting(workers=4, budget=20.0, default="first", cost="seconds")
MEASURED = {
    "regret": {"50": 0.5, "100": 0.25},
    "trials": 24,
    "full_runs": 20,
    "dead_epoch_share": 0.1,
    "idle_share": 0.0,
    "decision_ms": {"p50": 0.1, "p95": 0.5},
    "decision_log_sha256": "0" * 64,
}


def line(seed: int, setting: Setting = SETTING, **changes) -> str:
    return as_line(Key("family", "task", "random", seed, setting), {**MEASURED, **changes}, 0.01)


def test_what_is_appended_is_read_back(tmp_path):
    append(tmp_path / "results.jsonl", line(3))
    (run,) = read(tmp_path / "results.jsonl")
    assert run.key == Key("family", "task", "random", 3, SETTING)
    assert run.regret == {50: 0.5, 100: 0.25}
    assert (run.trials, run.full_runs, run.decision_p95_ms, run.cpu_s) == (24, 20, 0.5, 0.01)


def test_no_file_has_no_runs(tmp_path):
    assert read(tmp_path / "results.jsonl") == []


def test_a_truncated_line_is_skipped_and_the_other_runs_are_read(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, line(0))
    with path.open("a") as file:
        file.write(line(1)[:40])
    append(path, line(2))
    assert [run.key.seed for run in read(path)] == [0, 2]


def test_a_run_that_is_recorded_twice_counts_once(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, line(0, trials=24))
    append(path, line(0, trials=25))
    assert [run.trials for run in read(path)] == [24]


@pytest.mark.parametrize("change", [{"workers": 1}, {"budget": 5.0}, {"default": "none"}, {"cost": "epochs"}], ids=str)
def test_another_setting_is_another_run(tmp_path, change):
    path = tmp_path / "results.jsonl"
    append(path, line(0))
    append(path, line(0, SETTING._replace(**change)))
    assert [run.key.setting for run in read(path)] == [SETTING, SETTING._replace(**change)]


def test_several_files_are_read_as_one(tmp_path):
    append(tmp_path / "one.jsonl", line(0))
    append(tmp_path / "two.jsonl", line(0))
    append(tmp_path / "two.jsonl", line(1))
    assert [run.key.seed for run in read(tmp_path / "one.jsonl", tmp_path / "two.jsonl")] == [0, 1]
