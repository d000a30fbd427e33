"""A search on real Ray with a scripted trainer: slots, states, early stops. What goes wrong is in `tests/faults`."""

from collections import Counter

import pytest
from ray.cluster_utils import Cluster

from tests.arena import SPACE, assert_nothing_lost, assert_orderly_end, finished
from tuner.database import sqlite_url
from tuner.study import Study


def test_a_search_ends_with_right_states_a_promoted_run_and_parameters(arena):
    code, output = arena.run(promote=True)
    assert code == 0, output
    status = arena.status()
    assert status["counts"] == {"RUNNING": 0, "WAITING": 0, "FAIL": 0, **_ended(status)}
    assert sum(_ended(status).values()) == 8
    assert status["counts"]["COMPLETE"] >= 1
    assert status["counts"]["PRUNED"] >= 1
    assert status["trials"][0]["params"]["lr0"] == 0.01
    for trial in status["trials"]:
        assert set(trial["curve"]) == ({"3", "9"} if trial["state"] == "COMPLETE" else {"3"})
    assert status["promotion"]["state"] == "COMPLETE"
    assert (arena.folder / "studies/s/params.yaml").exists()


def test_a_warm_start_tries_the_best_of_an_earlier_study_right_after_the_baseline(arena):
    (arena.folder / "space.yaml").write_text(SPACE % 4)
    code, output = arena.run()
    assert code == 0, output
    best = sorted((t["value"], t["params"]["lr0"]) for t in arena.status()["trials"][1:] if t["state"] == "COMPLETE")
    assert best, "the seed has one that runs to its end"
    code, output = arena.run(more=["--study", "next", "--warm-start", "s"])
    assert code == 0, output
    assert f"start  the default configuration, then {len(best)} of earlier studies" in output
    study = Study.open(sqlite_url(arena.folder / "studies" / "next" / "study.db"), "next")
    tried = [trial.params["lr0"] for trial in study.trials()]
    study.close()
    assert tried[: 1 + len(best)] == [0.01, *(lr0 for _, lr0 in reversed(best))]


def _ended(status):
    return {name: status["counts"][name] for name in ("COMPLETE", "PRUNED")}


def test_a_configuration_sure_to_diverge_is_pruned_in_its_first_epoch_and_harms_no_other(arena):
    text = (SPACE % 6).replace("{float: [0.0001, 0.9], log: true}", "{choice: [0.01, 0.02, 1000000.0]}")
    (arena.folder / "space.yaml").write_text(text)
    code, output = arena.run()
    assert code == 0, output
    diverging = [t for t in arena.status()["trials"] if t["params"]["lr0"] == 1e6]
    assert diverging, "the seed draws one"
    assert all(t["state"] == "PRUNED" and t["reason"].startswith("diverged") for t in diverging)
    assert all(t["epochs"] == 0 for t in diverging)
    assert arena.status()["counts"]["FAIL"] == 0


@pytest.fixture
def cluster_with_8_gpus():
    """A running Ray cluster that believes in eight GPUs; its address."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 8, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def test_eight_logical_gpus_train_eight_trials_at_once_and_never_two_on_one(arena, cluster_with_8_gpus):
    (arena.folder / "space.yaml").write_text(SPACE % 12)
    arena.address = cluster_with_8_gpus
    code, output = arena.run(epoch_seconds=0.6, parallel=None, more=["--gpus", "8"])  # long beside a start
    assert code == 0, output
    moments = [(e["time"], 1, e["gpu"]) for e in arena.events("start")]
    moments += [(e["time"], -1, e["gpu"]) for e in arena.events("end")]
    on_gpu, most = Counter(), 0
    for _, change, gpu in sorted(moments):
        on_gpu[gpu] += change
        assert on_gpu[gpu] <= 1, f"two trials on GPU {gpu}"
        most = max(most, sum(on_gpu.values()))
    assert most == 8
    assert set(on_gpu) == {str(i) for i in range(8)}


def test_more_gpus_than_there_are_is_told_in_one_line(arena):
    code, output = arena.run(parallel=None, more=["--gpus", "8"])
    assert code == 5
    assert output.strip().splitlines()[-1].startswith("--gpus must be at most the number of GPUs that Ray sees")


def test_a_changed_space_is_refused_with_the_difference_and_more_trials_go_on_with_the_same_study(arena):
    assert arena.run(more=["--trials", "2"])[0] == 0
    space = (arena.folder / "space.yaml").read_text()
    (arena.folder / "space.yaml").write_text(space.replace("batch: 16", "batch: 32"))
    code, output = arena.run()
    assert code == 3
    assert "batch" in output
    (arena.folder / "space.yaml").write_text(space)
    assert arena.run(more=["--trials", "4"])[0] == 0
    assert len(arena.status()["trials"]) == 4


def test_a_spent_budget_is_no_error_and_more_of_it_goes_on_with_what_waits(arena):
    code, output = arena.run(more=["--gpu-hours", str(0.02 * 25 / 3600)])  # 25 epochs of at least 28
    assert code == 0, output
    assert "the search ends: --gpu-hours" in output
    assert (arena.folder / "studies/s/params.yaml").exists()
    before = arena.status()
    assert before["counts"]["RUNNING"] == 0
    assert len(finished(before)) < 8
    code, output = arena.run(more=["--gpu-hours", "1"])
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)
