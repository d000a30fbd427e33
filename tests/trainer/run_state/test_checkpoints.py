"""A good checkpoint is found whatever interrupted writing one, and whatever happened to the files since."""

import contextlib
import errno
import itertools
import json
import logging
import os
import shutil
import stat
from pathlib import Path

import pytest

from trainer.exceptions import ModelError
from trainer.run_state.checkpoints import BEST, LAST, LISTING, PREVIOUS, Checkpoints
from trainer.system import atomic_files

real_link = os.link


def content(epoch: int) -> bytes:
    return f"epoch {epoch} ".encode() * 1000


def any_use(path: Path, epoch: int) -> None:
    """Accept every checkpoint."""


class Dead(BaseException):
    """The process was killed: nothing after it runs."""


class Faults:
    """Replaces the operating system's file operations, which fail from the N-th on as `fail` says.

    Remembers which contents and names a loss of power could destroy: those not yet synced.
    """

    OPERATIONS = ("open", "write", "fsync", "replace", "link", "unlink")

    def __init__(self, monkeypatch, at: int, fail) -> None:
        self.count = 0
        self.unsynced_files: set[int] = set()  # inodes
        self.unsynced_names: list[tuple[Path, bytes | None]] = []  # replaced name, its previous content
        self._at, self._fail = at, fail
        self._inodes: dict[int, int] = {}
        for name in self.OPERATIONS:
            monkeypatch.setattr(os, name, self._standing_before(name, getattr(os, name)))

    @property
    def clean(self) -> bool:
        """Return whether nothing failed, because there were fewer operations."""
        return self.count < self._at

    def _standing_before(self, name, real):
        def operation(*args, **kwargs):
            self.count += 1
            if self.count >= self._at:
                self._fail(self, name, real, args)
            self._note(name, args)
            done = real(*args, **kwargs)
            if name == "open":
                self._inodes[done] = os.fstat(done).st_ino
            return done

        return operation

    def _note(self, name, args):
        if name == "write":
            self.unsynced_files.add(self._inodes[args[0]])
        elif name == "fsync":
            self.unsynced_files.discard(self._inodes[args[0]])
            if stat.S_ISDIR(os.fstat(args[0]).st_mode):
                self.unsynced_names.clear()
        elif name == "replace":
            target = Path(args[1])
            self.unsynced_names.append((target, target.read_bytes() if target.exists() else None))


def killed(faults, name, real, args):
    if name == "write" and faults.count == faults._at:
        real(args[0], bytes(args[1])[: len(args[1]) // 2])
    raise Dead


def disk_full(faults, name, real, args):
    if name in {"open", "write", "link", "replace"} and faults.count == faults._at:
        raise OSError(errno.ENOSPC, "No space left on device")


def publish_with_fault(folder: Path, epoch: int, at: int, fail, *, is_best: bool) -> Faults:
    with pytest.MonkeyPatch.context() as monkeypatch:
        faults = Faults(monkeypatch, at, fail)
        with contextlib.suppress(Dead, OSError):
            Checkpoints(folder).publish(content(epoch), epoch, is_best=is_best)
    return faults


@pytest.fixture
def two_epochs(tmp_path):
    """Make a folder with epochs 1 and 2. The first one is the best."""
    folder = tmp_path / "before"
    checkpoints = Checkpoints(folder)
    checkpoints.publish(content(1), 1, is_best=True)
    checkpoints.publish(content(2), 2, is_best=False)
    return folder


def copies(folder: Path, tmp_path: Path):
    """Yield one fresh copy after the other, with the same hard links."""
    for number in itertools.count(1):
        copy = tmp_path / str(number)
        copy.mkdir()
        firsts = {}
        for path in sorted(folder.iterdir()):
            inode = path.stat().st_ino
            if inode in firsts:
                real_link(firsts[inode], copy / path.name)
            else:
                firsts[inode] = Path(shutil.copy(path, copy / path.name))
        yield number, copy


def assert_a_good_one_is_found(folder: Path, at_least: int) -> int:
    found = Checkpoints(folder).recover(any_use)
    assert found >= at_least
    assert (folder / LAST).read_bytes() == content(found)
    listed = set(json.loads((folder / LISTING).read_text()).values())
    assert (folder / BEST).exists(), "the best is not lost either"
    assert {found, 1} <= listed | {found}
    # Whatever files are left, the next epochs are published, and none damages another.
    checkpoints = Checkpoints(folder)
    checkpoints.publish(content(found + 1), found + 1, is_best=True)
    assert [(folder / name).read_bytes() for name in (LAST, PREVIOUS, BEST)] == [
        content(found + 1),
        content(found),
        content(found + 1),
    ]
    checkpoints.complete()
    assert {path.name for path in folder.iterdir()} == {LAST, BEST, LISTING}
    return found


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("is_best", [True, False])
@pytest.mark.parametrize("fail", [killed, disk_full])
def test_a_stop_before_any_file_operation_keeps_at_least_the_previous_epoch(
    two_epochs, tmp_path, fail, is_best, links, monkeypatch
):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    found = []
    for at, folder in copies(two_epochs, tmp_path):
        faults = publish_with_fault(folder, 3, at, fail, is_best=is_best)
        if fail is disk_full and not faults.clean:
            assert not (folder / f"{LAST}.tmp").exists(), "a full disk is not kept full"
        found.append(assert_a_good_one_is_found(folder, at_least=2))
        if faults.clean:
            break
    assert len(found) > 15, "every operation was stopped at once"
    assert set(found) == {2, 3}
    assert found[-1] == 3


def no_links(source, target, **kwargs):
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("is_best", [True, False])
def test_a_loss_of_power_destroys_no_good_checkpoint(two_epochs, tmp_path, is_best):
    """Unsynced content of files and any of the last renames may be lost, in any combination."""
    runs = copies(two_epochs, tmp_path)
    cases, at = [()], 1
    while cases:
        _, folder = next(runs)
        faults = publish_with_fault(folder, 3, at, killed, is_best=is_best)
        lost = cases.pop() or (False,) * len(faults.unsynced_names)
        if not any(lost):
            cases += [case for case in itertools.product([False, True], repeat=len(lost)) if any(case)]
        for path in folder.iterdir():
            if path.stat().st_ino in faults.unsynced_files:
                path.write_bytes(b"")
        for (path, before), is_lost in zip(faults.unsynced_names, lost, strict=True):
            if is_lost:
                path.unlink(missing_ok=True)
                if before is not None:
                    path.write_bytes(before)
        assert_a_good_one_is_found(folder, at_least=3 if faults.clean else 2)
        if not cases and not faults.clean:
            cases, at = [()], at + 1
    assert at > 15, "every operation was the last"


def test_the_first_checkpoint_is_found_or_there_is_none(tmp_path):
    for at in itertools.count(1):
        folder = tmp_path / str(at)
        clean = publish_with_fault(folder, 1, at, killed, is_best=True).clean
        assert Checkpoints(folder).recover(any_use) in ((1,) if clean else (0, 1))
        if clean:
            break


def test_files_that_a_kill_left_incomplete_are_never_written_into(tmp_path):
    (tmp_path / "good").write_bytes(b"good")
    os.link(tmp_path / "good", atomic_files.staging_path(tmp_path / "other"))
    atomic_files.write_whole(tmp_path / "other", b"other")
    assert (tmp_path / "good").read_bytes() == b"good"


def test_the_same_bytes_are_written_once_however_many_names_they_have(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.publish(content(1), 1, is_best=False)
    checkpoints.publish(content(2), 2, is_best=True)
    checkpoints.keep("epoch2.pt")
    inodes = [(tmp_path / name).stat().st_ino for name in (LAST, BEST, "epoch2.pt", PREVIOUS)]
    assert len({*inodes[:3]}) == 1
    assert inodes[3] != inodes[0]


@pytest.mark.parametrize("name", [LAST, PREVIOUS])
def test_a_file_of_another_run_is_not_mistaken_for_one_of_this_run(two_epochs, name):
    (two_epochs / name).unlink()
    (two_epochs / name).write_bytes(content(7))
    assert Checkpoints(two_epochs).recover(any_use) == {LAST: 1, PREVIOUS: 2}[name]


@pytest.mark.parametrize("listing", [b"", b"[]", b'{"a": "b"}', b"\xff", None])
def test_without_a_readable_list_of_digests_no_checkpoint_is_good(two_epochs, listing):
    (two_epochs / LISTING).unlink()
    if listing is not None:
        (two_epochs / LISTING).write_bytes(listing)
    assert Checkpoints(two_epochs).recover(any_use) == 0
    assert list(two_epochs.iterdir()) == [], "and nothing is left that a later run could stumble over"


def test_the_log_says_what_was_refused_and_why_and_what_the_run_resumes_from(two_epochs, caplog):
    def check(path, epoch):
        if path.name == LAST:
            raise ModelError("it has weights that are NaN or infinite")

    with caplog.at_level(logging.INFO, logger="trainer"):
        assert Checkpoints(two_epochs).recover(check) == 1
    assert caplog.messages == [
        "resuming from epoch 1 (previous.pt); refused last.pt: it has weights that are NaN or infinite"
    ]


def test_a_best_checkpoint_that_was_changed_is_not_kept(two_epochs):
    best = two_epochs / BEST
    best.unlink()
    best.write_bytes(content(8))
    checkpoints = Checkpoints(two_epochs)
    checkpoints.restore_best()
    assert best.read_bytes() == content(2), "at the end of a run the last takes its place"
    best.unlink()
    best.write_bytes(content(8))
    Checkpoints(two_epochs).recover(any_use)
    assert not best.exists(), "before that the next validated epoch does"
