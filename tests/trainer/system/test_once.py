"""Work that fills a shared cache is done once, whatever happens to the process that does it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from trainer.system.once import once

WORKER = """
import sys, time
from pathlib import Path
from trainer.system.once import once

def work():
    with open(sys.argv[2], "a") as done:
        done.write("begun\\n")
    time.sleep(float(sys.argv[3]))

once(Path(sys.argv[1]), work)
"""


def start(tmp_path, seconds):
    marker, done = tmp_path / "cache" / "compiled", tmp_path / "done"
    return subprocess.Popen([sys.executable, "-c", WORKER, str(marker), str(done), str(seconds)])


def times_begun(tmp_path):
    done = tmp_path / "done"
    return len(done.read_text().splitlines()) if done.exists() else 0


def test_one_of_eight_processes_that_start_together_works(tmp_path):
    workers = [start(tmp_path, 0.5) for _ in range(8)]
    assert [worker.wait(60) for worker in workers] == [0] * 8
    assert times_begun(tmp_path) == 1


def test_the_next_process_works_if_the_first_is_killed(tmp_path):
    first = start(tmp_path, 600)
    deadline = time.monotonic() + 60
    while not times_begun(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    second = start(tmp_path, 0)
    os.kill(first.pid, signal.SIGKILL)
    assert second.wait(60) == 0
    first.wait(60)
    assert times_begun(tmp_path) == 2


def test_a_process_that_hangs_blocks_no_other(tmp_path):
    first = start(tmp_path, 600)
    deadline = time.monotonic() + 60
    while not times_begun(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    worked = []
    once(tmp_path / "cache" / "compiled", lambda: worked.append(True), patience_s=0.3)
    first.kill()
    first.wait(60)
    assert worked


def test_work_that_fails_does_not_count_as_done(tmp_path):
    def fail():
        raise OSError("no compiler")

    marker, worked = tmp_path / "compiled", []
    with pytest.raises(OSError, match="no compiler"):
        once(marker, fail)
    once(marker, lambda: worked.append(True))
    once(marker, lambda: worked.append(True))
    assert worked == [True]


def test_without_a_writable_folder_the_work_is_done_anyway(tmp_path):
    file, worked = tmp_path / "file", []
    file.write_text("")
    once(file / "compiled", lambda: worked.append(True))
    assert worked
