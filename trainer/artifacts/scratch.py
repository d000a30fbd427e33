"""Give a run a folder of its own on this machine, if its tuner may be on another one."""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trainer.system.cache import cache_folder
from tuner.contract import EndRecord, EpochRecord, Record, TrainRequest

_LEFT_BEHIND_S = 24 * 3600.0
"""Age in seconds at which a folder that a killed run has left is removed; by then, another attempt has ended it."""


def on_this_machine(request: TrainRequest) -> TrainRequest:
    """Return the request with a folder on this machine, the same for each attempt at the run."""
    run = "\n".join((platform.node(), request.artifacts, request.directory))
    return replace(request, directory=str(_runs() / hashlib.sha256(run.encode()).hexdigest()[:32]))


def as_known(record: Record, here: str, there: str) -> Record:
    """Return a record with the paths that the tuner knows.

    Args:
        record: Record of a run on this machine.
        here: Folder of the run on this machine.
        there: Folder of the run as the tuner named it.
    """
    if here == there:
        return record
    match record:
        case EpochRecord():
            return replace(record, checkpoint=record.checkpoint.replace(here, there))
        case EndRecord():
            log, checkpoint = (path.replace(here, there) for path in (record.log, record.checkpoint))
            return replace(record, log=log, checkpoint=checkpoint)
        case _:
            return record


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for the duration of the block; wait for another process that does. The folder may be removed."""
    with _lock(folder) as lock:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield
        finally:
            if not folder.exists():
                lock.unlink(missing_ok=True)


def remove_left_behind() -> None:
    """Remove the folders of runs that were killed on this machine long ago, and have not continued here."""
    for lock in _runs().glob("*.lock"):
        folder = lock.with_suffix("")
        with contextlib.suppress(OSError), lock.open("ab") as file:
            if time.time() - folder.stat().st_mtime < _LEFT_BEHIND_S:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink()


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[Path]:
    """Lock the file next to the folder; one that its last holder has removed is no lock any more."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".lock")
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file.fileno(), path):
                yield path
                return


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _runs() -> Path:
    return cache_folder() / "runs"
