"""Rows 7 to 9: the database is away, hangs, drops its connections or is locked by another program."""

import sqlite3
import time

import pytest

from tests.support.arena import Arena, assert_nothing_lost, assert_orderly_end


@pytest.fixture
def on_postgres(tmp_path, ray_cluster, postgres):
    """Return an arena with eight trials, recorded in PostgreSQL."""
    arena = Arena(tmp_path, address=ray_cluster, storage=postgres.new_database())
    yield arena
    arena.kill_everything()


def begin(arena, *, epochs=4, **options):
    process = arena.start(epoch_seconds=0.15, **options)
    arena.wait_for(lambda: len(arena.events("epoch")) >= epochs)
    return process


def wait_for_new_trials(arena):
    """Wait for new trials: they show that not only the trainers continue, but also the driver."""
    begun = len(arena.events("start"))
    arena.wait_for(lambda: len(arena.events("start")) >= begun + 3, timeout_s=60)


def end(process, timeout_s=150):
    output, _ = process.communicate(timeout=timeout_s)
    assert_orderly_end(process.returncode, output, 0)
    return output


@pytest.mark.parametrize(
    "seconds", [1, pytest.param(20, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)]
)
def test_training_continues_while_the_database_is_down_and_everything_is_written_afterwards(
    on_postgres, postgres, seconds
):
    process = begin(on_postgres)
    postgres.stop_immediately()
    try:
        time.sleep(seconds)
        told = len(on_postgres.events("epoch"))
    finally:
        postgres.start()
    output = end(process)
    assert told > 4, "training stood still"
    assert_nothing_lost(on_postgres, most_redone=0)
    if seconds > 1:
        assert "Training continues, and its results are saved in the journal." in output
        assert "the database is available again after" in output


@pytest.mark.slow
def test_a_search_that_ends_while_the_database_is_down_waits_for_it(on_postgres, postgres):
    process = begin(on_postgres, epochs=40)
    postgres.stop_immediately()
    try:
        on_postgres.wait_for(lambda: all((t, 3) in on_postgres.epochs_played() for t in range(8)))
        time.sleep(3.0)
        assert process.poll() is None
    finally:
        postgres.start()
    end(process)
    assert_nothing_lost(on_postgres, most_redone=0)


@pytest.mark.slow
def test_a_driver_killed_while_the_database_is_down_leaves_all_in_its_journal(on_postgres, postgres):
    process = begin(on_postgres)
    postgres.stop_immediately()
    try:
        seen = len(on_postgres.events("epoch"))
        on_postgres.wait_for(lambda: len(on_postgres.events("epoch")) >= seen + 8)
        process.kill()
        process.communicate()
        assert (on_postgres.study_folder / "journal.jsonl").read_text().count("\n") >= 1
    finally:
        postgres.start()
    code, output = on_postgres.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(on_postgres, most_redone=2)


def test_without_a_database_nothing_starts_and_the_cause_is_one_line(on_postgres, postgres):
    postgres.stop_immediately()
    try:
        code, output = on_postgres.run()
    finally:
        postgres.start()
    assert_orderly_end(code, output, 8)
    assert "start the server, or correct host and port in --storage" in output.strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("backends", [pytest.param(True, id="all of it"), pytest.param(False, id="its postmaster")])
def test_a_frozen_database_delays_nothing(on_postgres, postgres, backends):
    process = begin(on_postgres)
    postgres.freeze(backends=backends)
    try:
        wait_for_new_trials(on_postgres)
    finally:
        postgres.thaw()
    end(process)
    assert_nothing_lost(on_postgres, most_redone=0)


@pytest.mark.slow
def test_a_signal_while_the_database_is_frozen_ends_the_run_within_30_s_and_nothing_is_lost(on_postgres, postgres):
    process = begin(on_postgres)
    postgres.freeze()
    try:
        time.sleep(1.0)
        process.terminate()
        output, _ = process.communicate(timeout=30)
    finally:
        postgres.thaw()
    assert_orderly_end(process.returncode, output, 143)
    code, output = on_postgres.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(on_postgres, most_redone=2)


@pytest.mark.slow
def test_a_signal_while_a_finished_search_waits_for_its_database_ends_the_run_and_nothing_is_lost(
    on_postgres, postgres
):
    process = begin(on_postgres, epochs=40)
    postgres.stop_immediately()
    try:
        on_postgres.wait_for(lambda: all((t, 3) in on_postgres.epochs_played() for t in range(8)))
        time.sleep(6.0)
        process.terminate()
        output, _ = process.communicate(timeout=30)
    finally:
        postgres.start()
    assert_orderly_end(process.returncode, output, 143)
    code, output = on_postgres.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(on_postgres, most_redone=0)


@pytest.mark.slow
def test_dropped_connections_have_no_effect(on_postgres, postgres):
    process = begin(on_postgres)
    for _ in range(4):
        postgres.terminate_backends()
        time.sleep(0.7)
    end(process)
    assert_nothing_lost(on_postgres, most_redone=0)


@pytest.mark.slow
def test_another_program_that_locks_the_sqlite_file_delays_nothing(arena):
    process = begin(arena)
    other = sqlite3.connect(arena.study_folder / "study.db", timeout=10, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    wait_for_new_trials(arena)
    other.execute("ROLLBACK")
    other.close()
    end(process)
    assert_nothing_lost(arena, most_redone=0)
