"""Row 11: the disk is full, before the start or while trials train; once there is space, the same command resumes."""

import os
import subprocess
from contextlib import suppress

import pytest

from tests.support.arena import Arena, assert_nothing_lost, assert_nothing_runs, assert_orderly_end
from tuner.system.disk_space import free_bytes

MIB = 2**20
MOUNT_MIB = 96
"""More than the 64 MiB for logs that a search needs in addition to its checkpoints, which are empty here."""


class SmallDisk:
    """A separate file system in memory that can be filled and emptied."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        folder.mkdir()
        options = f"size={MOUNT_MIB}m,mode=0700"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"a disk of limited size cannot be mounted here: {done.stderr.strip()}")

    def fill(self, leave: int = 0) -> None:
        """Fill the disk, and leave so many bytes free."""
        with self._filler.open("ab") as file:
            while (room := free_bytes(self.folder) - leave) > 0:
                with suppress(OSError):  # the running search has used some of it meanwhile
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), room)

    def empty(self) -> None:
        self._filler.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], check=True)


@pytest.fixture
def disk(tmp_path):
    disk = SmallDisk(tmp_path / "studies")
    yield disk
    disk.unmount()


@pytest.fixture
def arena(tmp_path, ray_cluster, disk):
    """Return an arena with eight trials whose folder is on the small disk."""
    arena = Arena(tmp_path, address=ray_cluster)
    yield arena
    arena.kill_everything()


def last_line(output):
    return output.strip().splitlines()[-1]


def assert_ended_for_want_of_room(code, output, arena):
    """Check that every unfinished trial waits and none has failed, and return the status."""
    assert_orderly_end(code, output, 5)
    assert "free disk space" in last_line(output)
    assert_nothing_runs(arena)
    status = arena.status()
    assert status["counts"]["WAITING"] >= 1
    assert status["counts"]["RUNNING"] == status["counts"]["FAIL"] == 0
    return status


def assert_resumes(arena, *, before):
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    return assert_nothing_lost(arena, before=before, most_redone=2)  # one for each of the two trials


@pytest.mark.parametrize("leave_mib", [0, pytest.param(32, marks=pytest.mark.slow)])
def test_without_disk_space_nothing_starts_and_the_cause_is_one_line(arena, disk, leave_mib):
    disk.fill(leave=leave_mib * MIB)
    code, output = arena.run()
    assert_orderly_end(code, output, 5)
    assert last_line(output).endswith(f"but only {leave_mib} MiB are free; free disk space, or choose another --home.")
    assert arena.events("start") == []
    if leave_mib:
        assert arena.status()["trials"] == []


@pytest.mark.slow
def test_a_nearly_full_disk_ends_the_search_in_order(arena, disk):
    process = arena.start(epoch_seconds=0.5)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 2)
    disk.fill(leave=8 * MIB)  # trainers can still write
    output, _ = process.communicate(timeout=60)
    before = assert_ended_for_want_of_room(process.returncode, output, arena)
    assert not any("failed_attempts" in trial for trial in before["trials"])
    assert "The run stopped cleanly: only 8 MiB are left on the disk" in last_line(output)
    disk.empty()
    assert_resumes(arena, before=before)


@pytest.mark.slow
def test_trials_do_not_fail_because_of_a_full_disk(arena, disk):
    """Retried at once, they would use up their attempts before the driver next looks at the disk."""
    process = arena.start(epoch_seconds=0.3)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 2)
    disk.fill(leave=8 * MIB)
    arena.fault("any-3-disk!")
    output, _ = process.communicate(timeout=60)
    before = assert_ended_for_want_of_room(process.returncode, output, arena)
    assert arena.events("fault")
    assert not any("failed_attempts" in trial for trial in before["trials"])
    for fault in arena.faults.iterdir():
        fault.unlink()
    disk.empty()
    assert_resumes(arena, before=before)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_disk_that_fills_up_suddenly_loses_nothing(arena, disk, seed):
    """Neither trainers nor the journal nor the database can write: the next driver corrects the states."""
    process = arena.start(epoch_seconds=0.05)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 4 + 7 * seed)
    disk.fill()
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 5)
    assert "free disk space" in last_line(output)
    assert_nothing_runs(arena)
    disk.empty()
    before = arena.status()
    assert before["counts"]["FAIL"] == 0
    assert_resumes(arena, before=before)


@pytest.mark.slow
def test_a_trainer_that_alone_meets_a_full_disk_is_retried(arena):
    """Another program filled the disk, and emptied it again."""
    arena.fault("0-5-disk")
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    trial = assert_nothing_lost(arena, most_redone=0)["trials"][0]
    assert (trial["state"], trial["attempts"]) == ("COMPLETE", 2)
    (attempt,) = trial["failed_attempts"]
    assert attempt["failure"] == "infrastructure"
    assert "no space left" in attempt["cause"]


@pytest.mark.slow
@pytest.mark.parametrize("append", [1, 2, 3, 4, 9, 20])
def test_a_journal_that_cannot_be_written_ends_the_run_and_loses_nothing(tmp_path, ray_cluster, append):
    arena = Arena(tmp_path, trials=6, address=ray_cluster)
    code, output = arena.run(die=f"tuner.study._journal:Journal.append:full:{append}", epoch_seconds=0.05)
    assert_orderly_end(code, output, 5)
    assert "is not (No space left on device); free disk space" in last_line(output)
    assert_nothing_runs(arena)
    before = arena.status()
    assert before["counts"]["FAIL"] == 0
    code, output = arena.run()
    assert_orderly_end(code, output, 0)
    assert_nothing_lost(arena, before=before, most_redone=2)


@pytest.mark.slow
def test_a_final_run_that_meets_a_full_disk_resumes_when_there_is_space(arena, disk):
    more = ["--trials", "1", "--promote-epochs", "12"]
    process = arena.start(epoch_seconds=0.3, promote=True, more=more)
    arena.wait_for(lambda: [event for event in arena.events("epoch") if event["full"]][2:])
    disk.fill()
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 5)
    disk.empty()
    code, output = arena.run(promote=True, more=more)
    assert_orderly_end(code, output, 0)
    played = [event["epoch"] for event in arena.events("epoch") if event["full"]]
    assert sorted(played) == list(range(1, 13)), "an epoch of the final run was lost or trained twice"


@pytest.fixture
def database_disk(tmp_path):
    disk = SmallDisk(tmp_path / "databases")
    yield disk
    disk.unmount()


@pytest.mark.slow
def test_a_database_whose_own_disk_is_full_catches_up_when_there_is_space(tmp_path, ray_cluster, database_disk):
    arena = Arena(tmp_path, address=ray_cluster, storage=f"sqlite:///{database_disk.folder}/study.db")
    process = arena.start(epoch_seconds=0.1)
    arena.wait_for(lambda: len(arena.events("epoch")) >= 4)
    database_disk.fill()
    journal = arena.study_folder / "journal.jsonl"
    arena.wait_for(lambda: journal.read_text().count("\n") >= 10)
    database_disk.empty()
    output, _ = process.communicate(timeout=60)
    assert_orderly_end(process.returncode, output, 0)
    assert "Training continues, and its results are saved in the journal." in output
    assert "the database is available again after" in output
    assert_nothing_lost(arena, most_redone=0)
