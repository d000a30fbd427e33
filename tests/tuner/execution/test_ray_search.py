"""Search on real Ray with a scripted trainer: slots, states, early stops. Faults are in `tests/faults`."""

import math
import signal
from collections import Counter
from itertools import pairwise

import pytest
from ray.cluster_utils import Cluster

from tests.support.arena import SPACE, assert_nothing_lost, assert_orderly_end, finished
from tuner.exceptions import FailurePolicyError, MachineError, SpaceError, UsageError
from tuner.storage.urls import sqlite_url
from tuner.study import StoredStudy, read_timeline


def test_a_search_ends_with_right_states_a_final_run_and_parameters(arena):
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
    assert status["final_run"]["state"] == "COMPLETE"
    assert (arena.folder / "studies/s/params.yaml").exists()
    logged = (arena.study_folder / "driver.log").read_text().splitlines()
    assert "driver started: process " in logged[0]
    assert sum(" trial 0 complete: " in line for line in logged) == 1
    assert logged[-1].endswith(" driver ended: done")


def test_the_timeline_shows_every_run_on_its_slot_and_no_slot_twice_at_a_time(arena):
    space = arena.folder / "space.yaml"
    space.write_text(space.read_text().replace("baseline: {lr0: 0.01}", "baseline: {lr0: 0.9}"))  # easy to beat
    code, output = arena.run(promote=True, more=["--reevaluation-runs", "6"])
    assert code == 0, output
    spans = read_timeline(arena.study_folder / "timeline.jsonl")
    ended = {trial["number"]: trial["epochs"] for trial in arena.status()["trials"]}

    assert {span.trial: span.to_epoch for span in spans if span.phase == "search"} == ended
    assert {span.phase for span in spans} == {"search", "re-evaluation", "final run"}
    assert len({(span.trial, span.seed) for span in spans if span.phase == "re-evaluation"}) >= 6
    assert all(span.ended_s is not None and span.ending and span.device == "scripted" for span in spans)
    for slot in (0, 1):
        mine = sorted((span.began_s, span.ended_s) for span in spans if span.slot == slot)
        assert len(mine) >= 4
        assert all(ended_s <= began_s for (_, ended_s), (began_s, _) in pairwise(mine))
    assert {span.slot for span in spans} == {0, 1}


@pytest.mark.slow
def test_a_warm_start_tries_the_best_of_an_earlier_study_right_after_the_baseline(arena):
    (arena.folder / "space.yaml").write_text(SPACE % 4)
    code, output = arena.run()
    assert code == 0, output
    best = sorted((t["value"], t["params"]["lr0"]) for t in arena.status()["trials"][1:] if t["state"] == "COMPLETE")
    assert best, "the seed has one that runs to its end"
    code, output = arena.run(more=["--study", "next", "--warm-start", "s"])
    assert code == 0, output
    assert f"start  the default configuration, then {len(best)} of the warm start" in output
    study = StoredStudy.open(sqlite_url(arena.folder / "studies" / "next" / "study.db"), "next")
    tried = [trial.params["lr0"] for trial in study.trials()]
    study.close()
    assert tried[: 1 + len(best)] == [0.01, *(lr0 for _, lr0 in reversed(best))]


@pytest.mark.slow
def test_the_starting_points_of_a_space_are_tried_right_after_the_baseline(arena):
    points = "start_points: [{name: low, values: {lr0: 0.02}}, {name: high, values: {lr0: 0.03}}]"
    (arena.folder / "space.yaml").write_text((SPACE % 8).replace("search: {", f"search: {{{points}, "))
    code, output = arena.run()
    assert code == 0, output
    assert "start  starting points: low\n" in output, "one in eight trials"
    trials = arena.status()["trials"]
    assert [trial["params"]["lr0"] for trial in trials[:2]] == [0.01, 0.02]
    assert [trial.get("origin") for trial in trials] == [None, "low", *[None] * 6]


@pytest.mark.slow
def test_a_file_of_tuning_results_gives_configurations_to_try_first_and_no_results(arena):
    (arena.folder / "space.yaml").write_text(SPACE % 3)
    (arena.folder / "tune_results.csv").write_text("fitness,lr0,box\n0.2,0.05,7.5\n0.9,0.07,7.5\n0.0,0.03,7.5\n")
    code, output = arena.run(more=["--warm-start", "tune_results.csv"])
    assert code == 0, output
    assert "tune_results.csv: 3 configurations read, 2 usable, 2 fit into the space" in output
    trials = arena.status()["trials"]
    assert [trial["params"]["lr0"] for trial in trials] == [0.01, 0.07, 0.05]
    assert all(trial["epochs"] > 0 for trial in trials)


def _ended(status):
    return {name: status["counts"][name] for name in ("COMPLETE", "PRUNED")}


def test_a_configuration_sure_to_diverge_is_pruned_in_its_first_epoch_and_affects_no_other(arena):
    text = (SPACE % 6).replace("{float: [0.0001, 0.9], log: true}", "{choice: [0.01, 0.02, 1000000.0]}")
    (arena.folder / "space.yaml").write_text(text)
    code, output = arena.run()
    assert code == 0, output
    diverging = [t for t in arena.status()["trials"] if t["params"]["lr0"] == 1e6]
    assert diverging, "the seed draws one"
    assert all(t["state"] == "PRUNED" and t["reason"].startswith("diverged") for t in diverging)
    assert all(t["epochs"] == 0 for t in diverging)
    assert arena.status()["counts"]["FAIL"] == 0


@pytest.fixture(scope="module")
def cluster_with_8_gpus():
    """Start a Ray cluster with eight logical GPUs. Yield its address."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 8, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


def test_eight_logical_gpus_train_eight_trials_at_once_and_never_two_on_one(arena, cluster_with_8_gpus):
    (arena.folder / "space.yaml").write_text(SPACE % 12)
    arena.address = cluster_with_8_gpus
    code, output = arena.run(epoch_seconds=1.5, parallel=None, more=["--gpus", "8"])  # long compared with a start
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


@pytest.fixture(scope="module")
def cluster_with_2_gpus():
    """Start a Ray cluster with two logical GPUs. Yield its address."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.mark.parametrize("number", [3, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 6, 7))])
def test_as_many_trials_as_requested_share_a_gpu_and_never_more(arena, cluster_with_2_gpus, number):
    """Count as Ray does, in ten-thousandths: six times a sixth must not be more than one."""
    (arena.folder / "space.yaml").write_text(SPACE % (2 * number))
    arena.address = cluster_with_2_gpus
    code, output = arena.run(epoch_seconds=1.5, parallel=None, more=["--trials-per-gpu", str(number)])
    assert code == 0, output
    assert f"slots  {2 * number} slot(s), 1/{number} GPU each" in output
    moments = [(e["time"], 1, e["gpu"]) for e in arena.events("start")]
    moments += [(e["time"], -1, e["gpu"]) for e in arena.events("end")]
    on_gpu, most = Counter(), Counter()
    for _, change, gpu in sorted(moments):
        on_gpu[gpu] += change
        most[gpu] = max(most[gpu], on_gpu[gpu])
    assert most == {"0": number, "1": number}
    assert {trial["gpu_share"] for trial in arena.status()["trials"]} == {round(1 / number, 6)}


@pytest.mark.parametrize(
    ("busy", "room", "number", "why"),
    [
        pytest.param(0.45, math.inf, 2, "less than 1.15 times", marks=pytest.mark.slow),
        pytest.param(0.9, math.inf, 1, "less than 1.15 times", marks=pytest.mark.slow),
        pytest.param(0.1, math.inf, 4, "more are not tried", marks=pytest.mark.slow),
        (0.1, 1.5 * 16 * 64**2, 1, "the largest batch and image size do not fit into 1/2 of its memory"),
    ],
)
def test_auto_shares_a_gpu_while_trials_fit_and_together_train_more(
    arena, cluster_with_2_gpus, busy, room, number, why
):
    """Use trials that need the GPU part of the time: they slow each other down only once they fill it."""
    (arena.folder / "space.yaml").write_text(SPACE % 4)
    arena.address = cluster_with_2_gpus
    more = ["--trials-per-gpu", "auto"]
    code, output = arena.run(epoch_seconds=0.4, parallel=None, busy=busy, room=room, more=more)
    assert code == 0, output
    (told,) = [line for line in output.splitlines() if line.startswith("share ") and "because" in line]
    assert told.startswith(f"share  {number} trial")
    assert told.endswith(why)
    assert f"slots  {2 * number} slot(s)" in output
    shares = {trial.get("gpu_share") for trial in arena.status()["trials"]}
    assert shares == ({None} if number == 1 else {1 / number})
    assert not list(arena.study_folder.glob("tune-*")), "nothing of the measurement stays"
    if number == 2:
        code, output = arena.run(parallel=None, busy=busy, more=[*more, "--trials", "5"])
        assert code == 0, output
        assert "share  2 trials per GPU, as measured before" in output


def test_a_dry_run_times_an_epoch_next_to_all_neighbours(arena, cluster_with_2_gpus):
    """Expect two trials to take 1.6 times as long as one, and each second of one to cost half a GPU-second."""
    arena.address = cluster_with_2_gpus
    arena.environment["XDG_CACHE_HOME"] = str(arena.folder / "cache")
    more = ["--trials-per-gpu", "2", "--dry-run"]
    code, output = arena.run(epoch_seconds=1.0, parallel=None, busy=0.8, promote=True, more=more)
    assert code == 0, output
    assert "cost   an epoch takes 1.6 s" in output
    assert "cost   final run: 4 epochs, at most 0.00 GPU-hours" in output
    assert [event["epoch"] for event in arena.events("epoch")] == [1, 1]
    assert len({event["pid"] for event in arena.events("epoch")}) == 2


def test_the_re_evaluation_shares_gpus_and_the_final_run_has_all_of_them_alone(arena, cluster_with_2_gpus):
    text = (SPACE % 4).replace("baseline: {lr0: 0.01}", "baseline: {lr0: 0.9}")  # easy to beat
    (arena.folder / "space.yaml").write_text(text)
    arena.address = cluster_with_2_gpus
    more = ["--trials-per-gpu", "2", "--reevaluation-runs", "6"]
    code, output = arena.run(epoch_seconds=0.1, parallel=None, promote=True, more=more)
    assert code == 0, output
    status = arena.status()
    runs = status["reevaluation"]["runs"]
    assert len(runs) >= 6
    assert {run["gpu_share"] for run in runs} == {0.5}
    assert {event["gpu"] for event in arena.events("start") if not event["full"]} == {"0", "1"}
    assert [event["gpu"] for event in arena.events("start") if event["full"]] == ["0,1"]
    assert status["final_run"]["gpus"] == 2


def test_trials_cannot_share_a_gpu_without_one(arena):
    code, output = arena.run(parallel=None, more=["--trials-per-gpu", "2"])
    assert_orderly_end(code, output, UsageError.exit_code)
    assert output.strip().endswith(
        "--trials-per-gpu must be 1 on a CPU, but got 2; use --parallel for the number of trials at once."
    )


def test_a_lost_gpu_gets_no_more_trials_and_no_trial_is_lost(arena, cluster_with_2_gpus):
    """Lose a GPU that fails within a second: it is always free, and would take one trial after the other.

    A trial returns to it only if no other is left, so there are more trials than slots.
    """
    (arena.folder / "space.yaml").write_text(SPACE % 8)
    arena.address = cluster_with_2_gpus
    for epoch in range(1, 10):
        arena.fault(f"any-{epoch}-lost=1!")
    code, output = arena.run(epoch_seconds=0.1, parallel=None, more=["--gpus", "2"])
    assert code == 0, output
    (told,) = [line for line in output.splitlines() if "no longer used" in line]
    assert told.startswith("GPU 1 of ")
    assert told.endswith("failed on it, the last one with: CUDA error: GPU is lost; the next run tries it again")
    assert arena.status()["counts"]["FAIL"] == 0
    failed = [trial["failed_attempts"] for trial in arena.status()["trials"] if "failed_attempts" in trial]
    assert sum(map(len, failed)) == 2
    assert max(map(len, failed)) == 1, "no trial was given to it twice"


def test_two_trials_that_fail_on_one_lost_gpu_do_not_count_as_two_gpus(arena, cluster_with_2_gpus):
    """Use four slots on two GPUs: when both slots of one are held, the other GPU trains the rest."""
    (arena.folder / "space.yaml").write_text(SPACE % 8)
    arena.address = cluster_with_2_gpus
    for epoch in range(1, 10):
        arena.fault(f"any-{epoch}-lost=1!")
    code, output = arena.run(epoch_seconds=0.5, parallel=None, more=["--trials-per-gpu", "2"])
    assert code == 0, output
    (told,) = [line for line in output.splitlines() if "no longer used" in line]
    assert told.startswith("GPU 1 of ")
    assert "every GPU has failed" not in output
    assert arena.status()["counts"]["FAIL"] == 0
    failed = [trial["failed_attempts"] for trial in arena.status()["trials"] if "failed_attempts" in trial]
    assert sum(map(len, failed)) in (2, 3), "the neighbour of the two was training already"


def test_more_gpus_than_exist_are_refused_in_one_line(arena):
    code, output = arena.run(parallel=None, more=["--gpus", "8"])
    assert code == 5
    assert output.strip().splitlines()[-1].startswith("--gpus must be at most the number of GPUs that Ray sees")


def test_a_changed_space_is_refused_with_the_difference_and_more_trials_continue_the_study(arena):
    assert arena.run(more=["--trials", "2"])[0] == 0
    space = (arena.folder / "space.yaml").read_text()
    (arena.folder / "space.yaml").write_text(space.replace("batch: 16", "batch: 32"))
    code, output = arena.run()
    assert code == 3
    assert "batch" in output
    (arena.folder / "space.yaml").write_text(space)
    assert arena.run(more=["--trials", "4"])[0] == 0
    assert len(arena.status()["trials"]) == 4


@pytest.mark.slow
def test_a_spent_budget_is_no_error_and_a_larger_one_resumes_waiting_trials(arena):
    code, output = arena.run(more=["--gpu-hours", str(0.02 * 25 / 3600)])  # 25 epochs of at least 28
    assert code == 0, output
    assert "the search ends: the budget of 0.000138889 GPU-hours is spent" in output
    assert (arena.folder / "studies/s/params.yaml").exists()
    before = arena.status()
    assert before["counts"]["RUNNING"] == 0
    assert len(finished(before)) < 8
    code, output = arena.run(more=["--gpu-hours", "1"])
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)


SIZES = """
search: {epochs: 9, rungs: [3], reduction_factor: 3, trials: 8, reevaluation_runs: 0}
parameters:
  optimizer: SGD
  batch: {choice: [8, 16, 32, 64]}
  imgsz: {choice: [64, 128]}
  lr0: {float: [0.0001, 0.9], log: true}
baseline: {lr0: 0.01, batch: 16, imgsz: 64}
data: sample
model: mamba-yolo-n
"""


def test_sizes_that_do_not_fit_on_the_gpus_are_left_out_before_the_search(arena, cluster_with_8_gpus):
    (arena.folder / "space.yaml").write_text(SIZES)
    arena.address = cluster_with_8_gpus
    more = ["--gpus", "2", "--trials", "1"]
    code, output = arena.run(parallel=None, room=32 * 64**2, more=more)
    assert code == 0, output
    tried = [line for line in output.splitlines() if line.startswith("memory batch")]
    assert tried == [
        "memory batch 64 at imgsz 128 does not fit",
        "memory batch 64 at imgsz 64 does not fit",
        "memory batch 32 at imgsz 64 takes 0.1 GiB",
        "memory batch 32 at imgsz 128 does not fit",
        "memory batch 16 at imgsz 128 does not fit",
        "memory batch 8 at imgsz 128 takes 0.1 GiB",
    ]
    left_out = "memory scripted cannot hold batch 16 at imgsz 128, batch 64 at imgsz 64; excluded"
    assert left_out in output
    assert not list(arena.study_folder.glob("tune-memory-*")), "nothing of it stays"
    code, output = arena.run(parallel=None, room=32 * 64**2, more=["--gpus", "2"])
    assert code == 0, output
    assert left_out in output, "and it is measured once"
    assert "memory batch" not in output
    trials = arena.status()["trials"]
    assert len(trials) == 8
    assert not [trial for trial in trials if "memory" in trial["reason"]]


@pytest.mark.slow
def test_sizes_are_measured_in_the_memory_share_of_a_trial(arena, cluster_with_2_gpus):
    (arena.folder / "space.yaml").write_text(SIZES)
    arena.address = cluster_with_2_gpus
    more = ["--trials-per-gpu", "2", "--trials", "1"]
    code, output = arena.run(parallel=None, room=2 * 32 * 64**2, more=more)
    assert code == 0, output
    assert "memory 1/2 of scripted cannot hold batch 16 at imgsz 128, batch 64 at imgsz 64; excluded" in output
    code, output = arena.run(parallel=None, room=2 * 32 * 64**2, more=["--trials", "2"])
    assert code == 0, output
    assert "cannot hold" not in output, "a whole GPU may hold them"


def test_a_default_configuration_that_does_not_fit_is_refused_with_the_largest_batch_that_fits(
    arena, cluster_with_8_gpus
):
    """Refuse the search: it would have nothing to compare its best trial with."""
    space = SIZES.replace("batch: 16, imgsz: 64", "batch: 64, imgsz: 64")
    (arena.folder / "space.yaml").write_text(space)
    arena.address = cluster_with_8_gpus
    for _ in range(2):  # also if the sizes are known from an earlier run
        code, output = arena.run(parallel=None, room=32 * 64**2, more=["--gpus", "2", "--trials", "1"])
        assert_orderly_end(code, output, SpaceError.exit_code)
        assert output.strip().endswith(
            "The default configuration must fit into memory, but batch 64 at imgsz 64 does not on scripted; "
            "set `baseline: {batch: 32}` in the space or another model, and start a new study with --study NAME."
        )
    assert arena.status()["trials"] == []


@pytest.mark.slow
def test_one_measurement_shows_that_all_sizes_fit_and_no_search_begins_if_none_fits(arena, cluster_with_8_gpus):
    (arena.folder / "space.yaml").write_text(SIZES)
    arena.address = cluster_with_8_gpus
    code, output = arena.run(parallel=None, room=1.0, more=["--gpus", "2", "--trials", "1"])
    assert_orderly_end(code, output, FailurePolicyError.exit_code)
    assert output.strip().endswith(
        "The search cannot start: even the smallest batch and image size of the space run out of memory. "
        "Choose smaller ones, or a smaller model."
    )
    assert arena.status()["trials"] == []
    code, output = arena.run(parallel=None, more=["--gpus", "2", "--trials", "1"])
    assert code == 0, output
    assert [line for line in output.splitlines() if line.startswith("memory")] == [
        "memory batch 64 at imgsz 128 takes 0.1 GiB"
    ]


@pytest.mark.slow
def test_measurements_before_a_search_can_be_interrupted(arena, cluster_with_8_gpus):
    (arena.folder / "space.yaml").write_text(SIZES)
    arena.address = cluster_with_8_gpus
    arena.fault("0-1-hang")
    process = arena.start(parallel=None, more=["--gpus", "2", "--trials", "1"])
    arena.wait_for(lambda: arena.events("fault"))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 130)
    assert arena.status()["trials"] == []
    code, output = arena.run(parallel=None, more=["--gpus", "2", "--trials", "1"])
    assert code == 0, output
    assert "memory batch 64 at imgsz 128 takes 0.1 GiB" in output


def test_other_failures_are_not_mistaken_for_out_of_memory(arena, cluster_with_8_gpus):
    (arena.folder / "space.yaml").write_text(SIZES)
    arena.address = cluster_with_8_gpus
    arena.fault("0-1-disk!")
    code, output = arena.run(parallel=None, more=["--gpus", "2", "--trials", "1"])
    assert_orderly_end(code, output, MachineError.exit_code)
    assert output.strip().splitlines()[-1] == "Measuring memory failed: no space left on /data."
    assert len(arena.events("fault")) == 3, "it may pass: two more attempts"
    assert arena.status()["trials"] == []
