"""Row +a: two drivers of one study."""

import socket
import subprocess
import sys

import pytest

from tests.support.arena import Arena, assert_nothing_lost, assert_orderly_end


def test_a_second_driver_is_refused_by_name_and_the_first_continues(arena):
    process = arena.start(epoch_seconds=0.15)
    arena.wait_for(lambda: arena.events("epoch"))
    code, output = arena.run()
    assert_orderly_end(code, output, 9)
    assert f"process {process.pid} on {socket.gethostname()} runs this one" in output.strip().splitlines()[-1]
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    assert_nothing_lost(arena, most_redone=0)


@pytest.mark.slow
def test_a_second_driver_with_another_folder_is_refused_by_the_database(tmp_path, ray_cluster, postgres):
    storage = postgres.new_database()
    first, second = (_made(tmp_path / name, address=ray_cluster, storage=storage) for name in ("one", "two"))
    process = first.start(epoch_seconds=0.15)
    first.wait_for(lambda: first.events("epoch"))
    code, output = second.run()
    assert_orderly_end(code, output, 9)
    assert f"process {process.pid} on " in output.strip().splitlines()[-1]
    output, _ = process.communicate(timeout=120)
    assert_orderly_end(process.returncode, output, 0)
    assert second.events("start") == []


@pytest.mark.slow
def test_a_driver_with_another_folder_replaces_a_dead_driver_at_once(tmp_path, ray_cluster, postgres):
    storage = postgres.new_database()
    first, second = (_made(tmp_path / name, address=ray_cluster, storage=storage) for name in ("one", "two"))
    process = first.start(epoch_seconds=0.15)
    first.wait_for(lambda: first.events("epoch"))
    process.kill()
    process.communicate()
    code, output = second.run(timeout_s=60)
    assert_orderly_end(code, output, 0)


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_exactly_one_of_two_drivers_that_start_at_once_runs(tmp_path, ray_cluster, times):
    for number in range(times):
        arena = _made(tmp_path / str(number), address=ray_cluster, trials=2)
        both = [arena.start() for _ in range(2)]
        ends = [(process.communicate(timeout=120)[0], process.returncode) for process in both]
        assert sorted(code for _, code in ends) == [0, 9], ends
        assert_nothing_lost(arena, most_redone=0)


@pytest.mark.slow
def test_promote_is_refused_while_the_search_runs(arena):
    process = arena.start(epoch_seconds=0.15)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 2)
    command = [sys.executable, "-m", "tuner", "promote", "s"]
    done = subprocess.run(command, cwd=arena.folder, env=arena.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 9
    process.kill()
    process.communicate()


def _made(folder, **options):
    folder.mkdir()
    return Arena(folder, **options)
