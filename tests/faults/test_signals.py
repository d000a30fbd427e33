"""Rows 2 and 5: who asks a run to end gets it in order; who asks twice gets it at once."""

import signal
import time

import pytest

from tests.arena import assert_nothing_lost, assert_nothing_runs, assert_orderly_end


def begin(arena, epochs=6, **options):
    process = arena.start(**{"epoch_seconds": 0.15, **options})
    arena.wait_for(lambda: len(arena.events("epoch")) >= epochs)
    return process


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
        *(pytest.param(signum, 75, marks=pytest.mark.slow) for signum in (signal.SIGUSR1, signal.SIGUSR2)),
    ],
)
def test_a_signal_ends_the_run_in_order_with_its_exit_code_and_the_same_command_goes_on(arena, signum, code):
    process = begin(arena)
    asked = time.monotonic()
    process.send_signal(signum)
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - asked < 30
    assert_orderly_end(process.returncode, output, code)
    assert output.strip().splitlines()[-1] == (
        f"stopped by {signal.Signals(signum).name}; the same command goes on from here"
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
    arena.fault("any-2-deaf!")  # trainers that do not end when asked to, so that order takes its time
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
def test_a_trainer_that_ignores_the_request_to_end_is_killed_within_the_time(arena):
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
def test_a_signal_during_the_promoted_run_is_orderly_too_and_the_run_goes_on(arena):
    more = ["--trials", "2", "--promote-epochs", "12"]
    process = arena.start(epoch_seconds=0.15, promote=True, more=more)
    arena.wait_for(lambda: len([e for e in arena.events("epoch") if e["full"]]) >= 3)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert_orderly_end(process.returncode, output, 143)
    assert arena.status()["promotion"]["state"] == "WAITING"
    code, output = arena.run(promote=True, more=more)
    assert_orderly_end(code, output, 0)
    played = [event["epoch"] for event in arena.events("epoch") if event["full"]]
    assert sorted(played) == list(range(1, 13)), "an epoch of the promoted run was lost or trained twice"


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
def test_a_preempted_trainer_goes_on_under_its_number_and_it_counts_as_no_failure(arena):
    for times in range(4):  # more often than a failure would be forgiven
        arena.fault(f"0-5-preempt{'=' * bool(times)}{times or ''}")
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    status = assert_nothing_lost(arena)
    assert status["trials"][0]["state"] == "COMPLETE"
    assert status["trials"][0]["attempts"] == 5
    assert "setbacks" not in status["trials"][0]


def test_a_signal_while_the_data_are_prepared_ends_the_run_as_well(arena):
    process = arena.start(prepare_seconds=60)
    arena.wait_for(lambda: len(arena.processes()) == 2)  # the driver, and the trainer that prepares
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert_orderly_end(process.returncode, output, 143)
    assert_nothing_runs(arena)
