"""Allow one driver per study."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.clock import Clock
from tuner.exceptions import StudyLockedError
from tuner.storage import lease
from tuner.storage.database import plain_engine
from tuner.storage.lease import folder_lock, study_lease

HOLDER = """
import sys
from pathlib import Path
from tuner.storage.lease import folder_lock

with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(paths):
    """Start another process that holds the study until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(paths.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_driver_is_refused_with_the_holder_of_the_study(paths, holder):
    with pytest.raises(StudyLockedError, match=rf"process {holder.pid} on \S+ runs this one"), folder_lock(paths.lock):
        pass


def test_a_refused_driver_does_not_affect_the_holder(paths, holder):
    for _ in range(2):
        with pytest.raises(StudyLockedError, match=f"process {holder.pid} "), folder_lock(paths.lock):
            pass


def test_the_study_is_free_once_its_holder_is_done(paths, holder):
    holder.communicate("")
    with folder_lock(paths.lock):
        assert f"process {os.getpid()} on" in paths.lock.read_text()


def test_the_study_is_free_once_its_holder_is_killed(paths, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with folder_lock(paths.lock):
        pass


def test_the_study_is_free_after_an_error_of_its_holder(paths):
    with pytest.raises(ZeroDivisionError), folder_lock(paths.lock):
        _ = 1 / 0
    with folder_lock(paths.lock):
        pass


def test_within_one_process_the_study_is_held_once_too(paths):
    with (
        folder_lock(paths.lock),
        pytest.raises(StudyLockedError, match=f"process {os.getpid()} "),
        folder_lock(paths.lock),
    ):
        pass


def test_a_child_of_the_holder_does_not_keep_the_study(paths):
    with folder_lock(paths.lock):
        child = subprocess.Popen(["sleep", "30"])
    try:
        with folder_lock(paths.lock):
            pass
    finally:
        child.kill()
        child.wait()


def test_two_studies_do_not_block_each_other(tmp_path):
    with folder_lock(tmp_path / "a.lock"), folder_lock(tmp_path / "b.lock"):
        pass


# The lease in the database

DRIVER = """
import sys
from tuner.storage import lease
from tuner.exceptions import StudyLockedError

lease.BEAT_S, lease.TIMEOUT_S = map(float, sys.argv[2:])
print("ready", flush=True)
sys.stdin.readline()
try:
    with lease.study_lease(sys.argv[1], "s"):
        print("held", flush=True)
        sys.stdin.readline()
except StudyLockedError:
    print("refused", flush=True)
"""


@contextlib.contextmanager
def drivers(url, number=1, beat_s=5.0, timeout_s=30.0):
    """Start processes that drive the study, each as soon as it gets a line."""
    command = [sys.executable, "-c", DRIVER, url, str(beat_s), str(timeout_s)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(number)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request, url):
    """Return the URL of an empty database of each kind."""
    return url if request.param == "sqlite" else request.getfixturevalue("postgres").new_database()


@pytest.fixture
def clock():
    """Return a clock by which a driver waits."""
    return Clock()


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "TIMEOUT_S", 0.4)


def rewrite(url, **columns):
    """Change the study's row."""
    with plain_engine(url) as engine, engine.begin() as connection:
        assert connection.execute(lease._LEASES.update().values(**columns)).rowcount == 1


def beats(url):
    with plain_engine(url) as engine, engine.begin() as connection:
        return connection.execute(lease._LEASES.select()).one().beats


def leave_row_of_another_machine(url):
    """Write a lease whose holder is on another machine and silent."""
    with study_lease(url, "s"):
        pass
    elsewhere = dataclasses.replace(lease.Holder.here(), host="node7", system="another boot", pid=4711)
    rewrite(url, token="theirs", beats=12, holder=json.dumps(dataclasses.asdict(elsewhere)))


def test_a_second_driver_elsewhere_in_the_file_system_is_refused_while_the_first_lives(any_url):
    with drivers(any_url) as (first,):
        go(first)
        assert first.stdout.readline() == "held\n"
        assert lease.holder_of(any_url, "s").pid == first.pid
        with (
            pytest.raises(StudyLockedError, match=rf"process {first.pid} on \S+ runs this one"),
            study_lease(any_url, "s"),
        ):
            pass


def test_a_driver_that_was_killed_here_is_replaced_at_once(any_url):
    told = []
    with drivers(any_url) as (first,):
        go(first)
        assert first.stdout.readline() == "held\n"
        kill(first)
    assert lease.holder_of(any_url, "s") is None
    with study_lease(any_url, "s", told.append):
        assert lease.holder_of(any_url, "s").pid == os.getpid()
    assert told == []  # nothing to wait for


def test_a_lease_that_is_given_back_is_free_at_once(any_url):
    for _ in range(2):
        with study_lease(any_url, "s"):
            pass
        assert lease.holder_of(any_url, "s") is None


def test_two_studies_of_one_database_are_held_separately(url):
    with study_lease(url, "s"), study_lease(url, "t"):
        assert lease.holder_of(url, "s") == lease.holder_of(url, "t") == lease.Holder.here()


def test_the_process_that_got_a_dead_holders_number_does_not_count_as_the_holder(url):
    with study_lease(url, "s"):
        pass
    reused = dataclasses.replace(lease.Holder.here(), started="1")
    rewrite(url, token="theirs", holder=json.dumps(dataclasses.asdict(reused)))
    with study_lease(url, "s"):
        pass


def test_a_silent_holder_on_another_machine_is_replaced_after_a_while(url, clock):
    leave_row_of_another_machine(url)
    told, began = [], clock.monotonic()
    with study_lease(url, "s", told.append, clock):
        assert lease.TIMEOUT_S < clock.monotonic() - began < lease.TIMEOUT_S + 2
    assert told == ["process 4711 on node7 ran this study last; waiting 30 s to check whether it is still alive"]


def test_a_holder_on_another_machine_with_heartbeats_keeps_the_study(url, clock):
    leave_row_of_another_machine(url)
    clock.sleep = lambda seconds: rewrite(url, beats=13)
    with (
        pytest.raises(StudyLockedError, match="process 4711 on node7 runs this one"),
        study_lease(url, "s", clock=clock),
    ):
        pass


def test_a_holder_sends_heartbeats_as_long_as_it_holds_the_study(url, fast):
    with study_lease(url, "s"):
        first = beats(url)
        wait_for(lambda: beats(url) > first + 2)


def test_a_holder_that_lost_the_study_fails_at_its_next_write(any_url, fast):
    with study_lease(any_url, "s") as held:
        held.ensure()
        rewrite(any_url, token="theirs")
        wait_for(lambda: not held._thread.is_alive())
        with pytest.raises(StudyLockedError):
            held.ensure()
        count = beats(any_url)
    assert beats(any_url) == count  # a lease that is no longer ours is not released


def test_a_delayed_holder_asks_the_database_before_it_writes(url, clock):
    with study_lease(url, "s", clock=clock) as held:
        rewrite(url, token="theirs")
        clock.sleep(lease.TIMEOUT_S / 2)
        held.ensure()  # recent enough: no other driver can have waited long enough
        clock.sleep(1.0)
        with pytest.raises(StudyLockedError):
            held.ensure()


def test_wall_clocks_do_not_matter(url, clock, monkeypatch):
    leave_row_of_another_machine(url)
    jumps = itertools.count(0.0, 1e6)
    wall, began = time.time, clock.monotonic()
    monkeypatch.setattr(time, "time", lambda: wall() + next(jumps))
    with study_lease(url, "s", clock=clock):
        assert clock.monotonic() - began > lease.TIMEOUT_S


RACE = """
import os, sys
from tuner.storage.database import open_storage
from tuner.exceptions import StudyLockedError
from tuner.storage.lease import study_lease

open_storage(sys.argv[1]).engine.dispose()  # for all of them what takes long: imports
start, end = os.pipe(), os.pipe()
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        os.close(start[1]), os.close(end[1])
        os.read(start[0], 1)
        try:
            with study_lease(sys.argv[1], "s"):
                os.write(1, b"held\\n")
                os.read(end[0], 1)
        except StudyLockedError:
            os.write(1, b"refused\\n")
        except Exception as error:
            os.write(1, f"{error!r}\\n".encode())
        os._exit(0)
os.close(start[1])
sys.stdin.read()
"""


@pytest.mark.parametrize("is_new", [True, False], ids=["a new study", "after a death"])
def test_exactly_one_of_twenty_concurrent_drivers_gets_the_study(any_url, is_new):
    if not is_new:
        with drivers(any_url) as (dead,):
            go(dead)
            assert dead.stdout.readline() == "held\n"
            kill(dead)
    number = 20 if any_url.startswith("sqlite") else 8  # a server has a limited number of connections
    command = [sys.executable, "-c", RACE, any_url, str(number)]
    race = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    answers = [race.stdout.readline() for _ in range(number)]
    race.communicate("")
    assert sorted(answers) == ["held\n"] + ["refused\n"] * (number - 1)
