"""Rows 3 and 13 to 18: how trainers die, and what the driver does then."""

import os
import signal

import pytest

from tests.support.arena import assert_nothing_lost, assert_nothing_runs, assert_orderly_end


def run(arena, **options):
    code, output = arena.run(**options)
    assert_orderly_end(code, output, 0)
    return output


# Row 3: a trainer or its actor is killed


@pytest.mark.parametrize("epoch", [2, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (1, 4, 9))])
def test_a_killed_trainer_resumes_from_its_last_epoch_as_the_same_trial(arena, epoch):
    arena.fault(f"0-{epoch}-kill")
    run(arena)
    trial = assert_nothing_lost(arena, most_redone=0)["trials"][0]
    assert trial["state"] == "COMPLETE"
    assert trial["attempts"] == 2
    (attempt,) = trial["failed_attempts"]
    assert attempt["failure"] == "infrastructure"
    assert attempt["epoch"] == epoch - 1
    assert "SIGKILL" in attempt["cause"]


@pytest.mark.slow
def test_a_trainer_that_dies_too_often_without_progress_fails_with_its_cause_and_the_others_continue(arena):
    arena.fault("1-2-kill!")
    run(arena)
    status = assert_nothing_lost(arena, states=("COMPLETE", "PRUNED", "FAIL"))
    failed = [t for t in status["trials"] if t["state"] == "FAIL"]
    assert [t["number"] for t in failed] == [1]
    assert failed[0]["failure"] == "infrastructure"
    assert len(failed[0]["failed_attempts"]) == 3
    assert "SIGKILL" in failed[0]["reason"]


@pytest.mark.slow
def test_a_trainer_that_makes_progress_between_deaths_is_always_retried(arena):
    for epoch in (1, 3, 5, 7, 9):
        arena.fault(f"0-{epoch}-kill")
    run(arena)
    trial = assert_nothing_lost(arena, most_redone=0)["trials"][0]
    assert (trial["state"], trial["attempts"]) == ("COMPLETE", 6)


@pytest.mark.slow
def test_a_killed_actor_costs_its_trial_one_attempt(arena):
    process = arena.start(epoch_seconds=0.3)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 4)
    os.kill(arena.actors()[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    status = assert_nothing_lost(arena)
    assert sum(len(t.get("failed_attempts", ())) for t in status["trials"]) == 1


@pytest.mark.slow
def test_a_killed_trainer_of_the_final_run_resumes_from_its_last_epoch(arena):
    more = ["--trials", "1", "--promote-epochs", "12"]
    process = arena.start(epoch_seconds=0.15, promote=True, more=more)
    full = arena.wait_for(lambda: [e for e in arena.events("epoch") if e["full"]][2:])
    os.kill(full[0]["pid"], signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    assert sorted(e["epoch"] for e in arena.events("epoch") if e["full"]) == list(range(1, 13))


# Rows 13 and 14: out of memory


def test_out_of_memory_is_infeasible_never_retried_and_affects_no_other_trial(arena):
    text = (arena.folder / "space.yaml").read_text().replace("batch: 16", "batch: {choice: [8, 16, 32, 64]}")
    (arena.folder / "space.yaml").write_text(text.replace("baseline: {", "baseline: {batch: 64, "))
    arena.fault("0-1-memory!")
    run(arena)
    trials = arena.status()["trials"]
    assert trials[0]["state"] == "PRUNED"
    assert trials[0]["reason"].startswith("out of memory: CUDA")
    assert trials[0]["failure"] == "out of memory"
    assert trials[0]["attempts"] == 1
    proposed_later = [t["params"]["batch"] for t in trials[2:]]  # two started at once
    assert proposed_later
    assert max(proposed_later) < 64
    assert_nothing_lost(arena)


@pytest.mark.slow
def test_a_space_whose_smallest_batch_is_too_large_ends_with_that_cause(arena):
    arena.fault("any-1-memory!")
    code, output = arena.run()
    assert_orderly_end(code, output, 7)
    assert "even the smallest batch and image size of the space run out of memory" in output
    assert arena.status()["counts"]["RUNNING"] == 0


# Row 15: values that are not numbers


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nan", "diverged"),
        pytest.param("inf", "diverged", marks=pytest.mark.slow),
        pytest.param("missing", "diverged", marks=pytest.mark.slow),
        pytest.param("text", "error", marks=pytest.mark.slow),
    ],
)
def test_a_value_that_is_not_a_number_ends_its_trial_at_once_and_is_never_the_best(arena, value, reason):
    arena.fault(f"1-3-value={value}")
    run(arena)
    states = ("COMPLETE", "PRUNED", "FAIL")
    status = assert_nothing_lost(arena, states=states)
    trial = status["trials"][1]
    assert trial["state"] in ("PRUNED", "FAIL")
    assert trial["reason"].startswith(reason), trial["reason"]
    assert status["best"]["trial"] != 1


@pytest.mark.slow
def test_a_trainer_that_writes_no_records_fails_its_trial_alone(arena):
    arena.fault("1-2-garbage")
    run(arena)
    status = assert_nothing_lost(arena, states=("COMPLETE", "PRUNED", "FAIL"))
    assert status["trials"][1]["state"] == "FAIL"
    assert "line of JSON" in status["trials"][1]["reason"]


# Rows 16 and 17: silence


@pytest.mark.parametrize("kind", ["stop", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("hang", "deaf"))])
def test_a_hung_trainer_is_killed_and_its_trial_resumes(arena, kind):
    arena.fault(f"0-5-{kind}")
    run(arena, more=["--hang-after", "3"])
    trial = assert_nothing_lost(arena, most_redone=0)["trials"][0]
    assert trial["state"] == "COMPLETE"
    (attempt,) = trial["failed_attempts"]
    assert attempt["failure"] == "hung"
    assert "no sign of life" in attempt["cause"]


@pytest.mark.slow
def test_a_trial_that_hangs_twice_at_the_same_place_fails_with_that_cause(arena):
    arena.fault("1-2-hang!")
    run(arena, more=["--hang-after", "2"])
    status = assert_nothing_lost(arena, states=("COMPLETE", "PRUNED", "FAIL"))
    assert status["trials"][1]["state"] == "FAIL"
    assert status["trials"][1]["reason"].startswith("hung: no sign of life")
    assert status["trials"][1]["attempts"] == 2


@pytest.mark.slow
def test_a_slow_first_epoch_is_not_a_hang(arena):
    arena.fault("any-1-slow=4")
    run(arena, more=["--hang-after", "1"])
    status = assert_nothing_lost(arena, most_redone=0)
    assert not any("failed_attempts" in trial for trial in status["trials"])


# Row 18: failures that repeat


@pytest.mark.slow
def test_three_trials_that_fail_with_the_same_error_before_any_has_a_value_end_the_search(arena):
    arena.fault("any-1-error!")
    code, output = arena.run()
    assert_orderly_end(code, output, 7)
    assert "RuntimeError: at batch" in output.strip().splitlines()[-1]
    assert 3 <= arena.status()["counts"]["FAIL"] <= 4
    assert_nothing_runs(arena)


@pytest.mark.slow
def test_bugs_are_not_retried(arena):
    arena.fault("2-2-error!")
    run(arena)
    status = assert_nothing_lost(arena, states=("COMPLETE", "PRUNED", "FAIL"))
    assert [(t["number"], t["failure"], t["attempts"]) for t in status["trials"] if t["state"] == "FAIL"] == [
        (2, "error", 1),
    ]


@pytest.mark.slow
def test_unreadable_data_end_the_run_which_resumes_once_they_are_repaired(arena):
    arena.fault("1-1-data")
    code, output = arena.run()
    assert_orderly_end(code, output, 4)
    assert "labels/7.txt:1 names class 9 of 6" in output.strip().splitlines()[-1]
    assert arena.status()["counts"].get("FAIL", 0) == 0
    run(arena)
    assert_nothing_lost(arena)
