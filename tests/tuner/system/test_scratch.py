"""The folder for temporary files: short, for one process, and removed with it."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tuner.exceptions import MachineError
from tuner.system import scratch
from tuner.system.scratch import LONGEST_BYTES, scratch_folder


@pytest.fixture
def base():
    """Create a place for temporary files with a short path; pytest's own is long."""
    with tempfile.TemporaryDirectory(prefix="b", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def in_base(base, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(base))
    return base


HOLDER = """
import subprocess, sys, time
from tuner.system.scratch import scratch_folder
with scratch_folder() as folder:
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkstemp()"])
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(base):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "TMPDIR": str(base)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, Path(process.stdout.readline().strip())


def test_temporary_files_of_a_process_and_its_children_are_removed_with_it(base):
    process, folder = holder(base)
    assert folder.parent == base
    assert len(list(folder.iterdir())) == 2  # the lock, and the child's file
    process.communicate()
    assert list(base.iterdir()) == []


def test_a_folder_whose_process_was_killed_is_removed_by_the_next_and_one_in_use_is_not(in_base):
    killed, abandoned = holder(in_base)
    living, in_use = holder(in_base)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with scratch_folder() as own:
        assert set(in_base.iterdir()) == {in_use, own}
    assert not abandoned.exists()
    living.communicate()


@pytest.mark.parametrize("name", ["tune-without-a-lock", "tune-a-file", "another"])
def test_folders_that_are_not_provably_ours_stay(in_base, name):
    other = in_base / name
    other.touch() if name == "tune-a-file" else other.mkdir()
    if name == "another":
        (other / "lock").touch()
    with scratch_folder():
        pass
    assert other.exists()


def test_a_link_is_not_followed(in_base, tmp_path):
    (tmp_path / "lock").touch()
    (in_base / "tune-link").symlink_to(tmp_path)
    with scratch_folder():
        pass
    assert (tmp_path / "lock").exists()


def test_within_one_folder_there_is_no_second(in_base):
    with scratch_folder() as outer, scratch_folder() as inner:
        assert inner == outer
        assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(outer)
    assert os.environ["TMPDIR"] == str(in_base)


@pytest.mark.parametrize("length", [30, 60, 200])
def test_another_folder_is_used_if_the_users_is_too_deep_for_sockets(tmp_path, monkeypatch, length):
    deep = tmp_path / ("x" * length)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    with scratch_folder() as folder:
        assert len(os.fsencode(folder)) <= LONGEST_BYTES
    assert not folder.exists()


@pytest.mark.parametrize("wrong", ["missing", "a file"])
def test_an_unusable_place_is_skipped(base, monkeypatch, wrong):
    named = base / "n"
    if wrong == "a file":
        named.touch()
    monkeypatch.setenv("TMPDIR", str(named))
    with scratch_folder() as folder:
        assert folder.parent != named


def test_without_a_usable_place_each_is_named_with_its_reason_and_the_remedy(monkeypatch):
    monkeypatch.setattr(scratch, "_bases", lambda: ["/nowhere", "/" + "x" * 60])
    with pytest.raises(MachineError) as told, scratch_folder():
        pass
    assert "'/nowhere': No such file or directory" in str(told.value)
    assert "too long for Unix sockets" in str(told.value)
    assert "set TMPDIR" in str(told.value)


def test_a_full_place_is_skipped(monkeypatch):
    monkeypatch.setattr(scratch, "_ROOM_BYTES", 1 << 60)
    with pytest.raises(MachineError, match="MiB free"), scratch_folder():
        pass
