"""One driver per study."""

import os
import signal
import subprocess
import sys

import pytest

from tuner.exceptions import StudyLocked
from tuner.lease import driver_lease

HOLDER = """
import sys
from pathlib import Path
from tuner.lease import driver_lease

with driver_lease(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(paths):
    """Another process that holds the study until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(paths.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_driver_is_refused_and_told_who_holds_the_study(paths, holder):
    with pytest.raises(StudyLocked, match=rf"process {holder.pid} on \S+ runs this one"), driver_lease(paths.lock):
        pass


def test_being_refused_takes_nothing_from_the_holder(paths, holder):
    for _ in range(2):
        with pytest.raises(StudyLocked, match=f"process {holder.pid} "), driver_lease(paths.lock):
            pass


def test_the_study_is_free_once_its_holder_is_done(paths, holder):
    holder.communicate("")
    with driver_lease(paths.lock):
        assert f"process {os.getpid()} on" in paths.lock.read_text()


def test_the_study_is_free_once_its_holder_is_killed(paths, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with driver_lease(paths.lock):
        pass


def test_the_study_is_free_after_an_error_of_its_holder(paths):
    with pytest.raises(ZeroDivisionError), driver_lease(paths.lock):
        _ = 1 / 0
    with driver_lease(paths.lock):
        pass


def test_within_one_process_the_study_is_held_once_too(paths):
    with (
        driver_lease(paths.lock),
        pytest.raises(StudyLocked, match=f"process {os.getpid()} "),
        driver_lease(paths.lock),
    ):
        pass


def test_a_child_of_the_holder_does_not_keep_the_study(paths):
    with driver_lease(paths.lock):
        child = subprocess.Popen(["sleep", "30"])
    try:
        with driver_lease(paths.lock):
            pass
    finally:
        child.kill()
        child.wait()


def test_two_studies_do_not_hinder_each_other(tmp_path):
    with driver_lease(tmp_path / "a.lock"), driver_lease(tmp_path / "b.lock"):
        pass
