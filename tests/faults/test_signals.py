"""Rows 2 and 5: one request ends a run in order, a second one ends it at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support.arena import assert_nothing_lost, assert_nothing_runs, assert_orderly_end


def begin(arena, epochs=6, **options):
    process = arena.start(**{"epoch_seconds": 0.15, **options})
    arena.wait_for(lambda: len(arena.events("epoch")) >= epochs)
    return process


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
        *(pytest.param(signum, 75, marks=pytest.mark.slow) for signum in (signal.SIGUSR1, signal.SIGUSR2)),
    ],
)
def test_a_signal_ends_the_run_in_order_with_its_exit_code_and_the_same_command_resumes(arena, signum, code):
    process = begin(arena)
    asked = time.monotonic()
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 30
    assert_orderly_end(process.returncode, output, code)
    assert output.strip().splitlines()[-1] == (
        f"stopped by {signal.Signals(signum).name}; run the same command to resume"
    )
    before = arena.status()
    assert before["counts"]["RUNNING"] == 0
    assert before["counts"]["WAITING"] >= 1
    assert_nothing_runs(arena)
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)


@pytest.mark.slow
def test_a_second_signal_ends_the_run_at_once(arena):
    arena.fault("any-2-deaf!")  # trainers that ignore the request to end, so that an orderly end takes time
    process = arena.start(epoch_seconds=0.1)
    arena.wait_for(lambda: len(arena.events("fault")) >= 2)
    process.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=2)
    assert process.returncode == 143
    process.stdout.close()
    for fault in arena.faults.iterdir():
        fault.unlink()
    arena.wait_for(lambda: not arena.processes(), timeout_s=30)
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, most_redone=2)


@pytest.mark.slow
def test_a_trainer_that_ignores_the_request_to_end_is_killed_in_time(arena):
    arena.fault("any-2-deaf!")
    process = arena.start(epoch_seconds=0.1)
    arena.wait_for(lambda: len(arena.events("fault")) >= 2)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 30
    assert_orderly_end(process.returncode, output, 130)
    assert arena.status()["counts"]["RUNNING"] == 0
    assert_nothing_runs(arena)


@pytest.mark.slow
def test_a_signal_ends_the_final_run_in_order_and_the_same_command_resumes_it(arena):
    more = ["--trials", "2", "--promote-epochs", "12"]
    process = arena.start(epoch_seconds=0.15, promote=True, more=more)
    arena.wait_for(lambda: len([e for e in arena.events("epoch") if e["full"]]) >= 3)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert_orderly_end(process.returncode, output, 143)
    assert arena.status()["final_run"]["state"] == "WAITING"
    code, output = arena.run(promote=True, more=more)
    assert_orderly_end(code, output, 0)
    played = [event["epoch"] for event in arena.events("epoch") if event["full"]]
    assert sorted(played) == list(range(1, 13)), "an epoch of the final run was lost or trained twice"


@pytest.mark.slow
def test_a_warning_followed_by_the_kill_that_it_announced_loses_nothing(arena):
    """As schedulers preempt: SIGUSR1, some seconds, SIGKILL."""
    process = begin(arena)
    process.send_signal(signal.SIGUSR1)
    time.sleep(5.0)
    process.kill()
    process.communicate()
    before = arena.status()
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)


@pytest.mark.slow
def test_a_preempted_trainer_resumes_its_trial_and_preemption_is_not_a_failure(arena):
    for times in range(4):  # more often than a failure would be retried
        arena.fault(f"0-5-preempt{'=' * bool(times)}{times or ''}")
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    status = assert_nothing_lost(arena)
    assert status["trials"][0]["state"] == "COMPLETE"
    assert status["trials"][0]["attempts"] == 5
    assert "failed_attempts" not in status["trials"][0]


def test_a_signal_while_the_data_are_prepared_ends_the_run_as_well(arena):
    process = arena.start(prepare_seconds=60)
    arena.wait_for(lambda: len(arena.processes()) == 2)  # the driver, and the trainer that prepares
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert_orderly_end(process.returncode, output, 143)
    assert_nothing_runs(arena)


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.4])
def test_a_signal_while_ray_is_imported_ends_the_run_as_well(arena, delay_s):
    process = arena.start(prepare_seconds=60)
    arena.wait_for(lambda: "_raylet" in Path(f"/proc/{process.pid}/maps").read_text())
    time.sleep(delay_s)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert_orderly_end(process.returncode, output, 143)
    assert_nothing_runs(arena)


DATA = ["--data", "sample", "--model", "mamba-yolo-n", "--gpus", "0"]
CODES = {"INT": 130, "TERM": 143, "HUP": 129, "USR1": 75, "USR2": 75}


def assert_ended_in_order(arena, process, name):
    """Check that the exit code is that of the signal, the states are written and nothing runs."""
    asked = time.monotonic()
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 30
    assert_orderly_end(process.returncode, output, CODES[name])
    assert output.strip().splitlines()[-1] == f"stopped by SIG{name}; run the same command to resume"
    assert arena.status()["counts"]["RUNNING"] == 0
    assert_nothing_runs(arena)


@pytest.mark.slow
@pytest.mark.parametrize("name", CODES)
def test_a_signal_to_the_whole_process_group_ends_the_run_as_one_to_the_driver(lone_arena, name):
    process = begin(lone_arena, leads=True)
    os.killpg(process.pid, signal.Signals[f"SIG{name}"])
    assert_ended_in_order(lone_arena, process, name)
    before = lone_arena.status()
    assert before["counts"]["WAITING"] >= 1
    code, output = lone_arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(lone_arena, before=before, most_redone=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TERM", "USR1"])
def test_a_signal_to_every_process_of_the_run_ends_it_in_order(lone_arena, name):
    """As systemd and SLURM send it: by cgroup, whatever the session. Ray's servers end from it, too."""
    process = begin(lone_arena)
    for each in lone_arena.processes():
        each.send_signal(signal.Signals[f"SIG{name}"])
    assert_ended_in_order(lone_arena, process, name)
    before = lone_arena.status()
    code, output = lone_arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(lone_arena, before=before, most_redone=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "USR1"])
def test_a_signal_that_timeout_sends_twice_is_one_request_to_end(lone_arena, name):
    process = lone_arena.start(under=["timeout", "-s", name, "25"], epoch_seconds=1.0)
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 124)  # the exit code of `timeout`
    assert output.strip().splitlines()[-1] == f"stopped by SIG{name}; run the same command to resume"
    assert lone_arena.status()["counts"]["RUNNING"] == 0
    assert_nothing_runs(lone_arena)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["INT", "TERM", "USR2"])
def test_a_run_in_a_session_of_its_own_ends_in_order_too(lone_arena, name):
    process = begin(lone_arena, under=["setsid"])
    os.killpg(process.pid, signal.Signals[f"SIG{name}"])
    assert_ended_in_order(lone_arena, process, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TERM", "USR2"])
def test_a_signal_to_the_group_ends_a_comparison_in_order(lone_arena, name):
    space = lone_arena.folder / "space.yaml"
    space.write_text(space.read_text().replace("baseline: {lr0: 0.01}", "baseline: {lr0: 0.9}"))  # a poor one
    more = ["--trials", "6", "--reevaluation-runs", "12"]
    process = lone_arena.start(epoch_seconds=0.05, leads=True, more=more)
    lone_arena.wait_for(lambda: len([event for event in lone_arena.events("epoch") if event["seed"] != 0]) >= 5)
    os.killpg(process.pid, signal.Signals[f"SIG{name}"])
    assert_ended_in_order(lone_arena, process, name)
    code, output = lone_arena.run(more=more)
    assert_orderly_end(code, output, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["INT", "HUP"])
def test_a_signal_to_the_group_ends_the_final_run_in_order(lone_arena, name):
    more = ["--trials", "2", "--promote-epochs", "12"]
    process = lone_arena.start(epoch_seconds=0.15, promote=True, leads=True, more=more)
    lone_arena.wait_for(lambda: len([e for e in lone_arena.events("epoch") if e["full"]]) >= 3)
    os.killpg(process.pid, signal.Signals[f"SIG{name}"])
    assert_ended_in_order(lone_arena, process, name)
    assert lone_arena.status()["final_run"]["state"] == "WAITING"
    code, output = lone_arena.run(promote=True, more=more)
    assert_orderly_end(code, output, 0)
    played = [event["epoch"] for event in lone_arena.events("epoch") if event["full"]]
    assert sorted(played) == list(range(1, 13)), "an epoch of the final run was lost or trained twice"


@pytest.mark.slow
def test_a_run_that_the_terminal_suspends_and_resumes_continues(lone_arena):
    """Ctrl+Z, a pause longer than the allowed silence of Ray, and `fg`."""
    process = begin(lone_arena, leads=True)
    os.killpg(process.pid, signal.SIGTSTP)
    time.sleep(25)
    os.killpg(process.pid, signal.SIGCONT)
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 0)
    assert_nothing_lost(lone_arena)


@pytest.mark.parametrize(
    ("name", "whom"),
    [
        pytest.param(
            name, whom, marks=() if (name, whom) in [("TERM", "group"), ("HUP", "driver")] else pytest.mark.slow
        )
        for name in CODES
        for whom in ("driver", "group")
    ],
)
def test_a_signal_ends_a_full_run_in_order_and_the_same_command_resumes(tmp_path, name, whom):
    played = tmp_path / "played.jsonl"
    trainer = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 0.1 --journal {played}"
    command = [sys.executable, "-m", "tuner", "train", *DATA, "--out", "run", "--epochs", "12", "--trainer", trainer]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    for line in process.stdout:
        if line.startswith("epoch  3/12"):
            break
    (os.kill if whom == "driver" else os.killpg)(process.pid, signal.Signals[f"SIG{name}"])
    output, _ = process.communicate(timeout=30)
    assert_orderly_end(process.returncode, output, CODES[name])
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert_orderly_end(done.returncode, done.stdout + done.stderr, 0)
    assert played.read_text().count('"event": "epoch"') == 12, "an epoch was lost or trained twice"
