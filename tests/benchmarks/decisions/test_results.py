"""The file of results survives the death of its writer."""

from benchmarks.decisions.results import Key, append, as_line, read

MEASURED = {
    "regret": {"50": 0.5, "100": 0.25},
    "trials": 24,
    "full_runs": 20,
    "dead_epoch_share": 0.1,
    "idle_share": 0.0,
    "decision_ms": {"p50": 0.1, "p95": 0.5},
    "decision_log_sha256": "0" * 64,
}


def line(seed: int, **changes) -> str:
    return as_line(Key("task", "random", seed, 4, 20.0), {**MEASURED, **changes}, 0.01)


def test_what_is_appended_is_read_back(tmp_path):
    append(tmp_path / "results.jsonl", line(3))
    (run,) = read(tmp_path / "results.jsonl")
    assert run.key == Key("task", "random", 3, 4, 20.0)
    assert run.regret == {50: 0.5, 100: 0.25}
    assert (run.trials, run.full_runs, run.decision_p95_ms, run.cpu_s) == (24, 20, 0.5, 0.01)


def test_no_file_has_no_runs(tmp_path):
    assert read(tmp_path / "results.jsonl") == []


def test_a_torn_line_is_no_run_and_spoils_no_other(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, line(0))
    with path.open("a") as file:
        file.write(line(1)[:40])
    append(path, line(2))
    assert [run.key.seed for run in read(path)] == [0, 2]


def test_a_run_that_is_there_twice_counts_once(tmp_path):
    path = tmp_path / "results.jsonl"
    append(path, line(0, trials=24))
    append(path, line(0, trials=25))
    assert [run.trials for run in read(path)] == [24]
