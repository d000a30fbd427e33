"""One temporary folder for all that a command and its children put aside; it goes with the command.

A command that was killed leaves its folder behind. The lock in the folder is gone with its holder, so the next command
sees that nobody uses the folder, and removes it.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tuner.exceptions import MachineError

LONGEST_BYTES = 43
"""Of a folder's path. Ray's sockets lie 64 bytes deeper, and Unix takes 107 for a socket, whatever TMPDIR is."""

_PREFIX = "tune-"
_SUFFIX_BYTES = len("/tune-") + 8
_LOCK = "lock"
_ROOM_BYTES = 64 << 20
"""That must be free. Ray writes 1.5 MB at first, and logs as it goes."""

_REMOVALS = 3
"""Attempts: a child that is just dying may still write."""

_held: Path | None = None


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a new folder the place for temporary files of this process and its children, for the time of the block.

    Inside such a block it is the folder of the outer one.

    Raises:
        MachineError: no folder can be used for that.
    """
    global _held
    if _held is not None:
        yield _held
        return
    _held = folder = _made()
    atexit.register(remove, folder)  # before Ray registers: what Ray ends only at the exit may still write
    environment, module = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        with _in_use(folder):
            yield folder
    finally:
        _held, tempfile.tempdir = None, module
        if environment is None:
            os.environ.pop("TMPDIR", None)
        else:
            os.environ["TMPDIR"] = environment
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a folder, as far as that is possible."""
    for attempt in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1 * attempt)


def _made() -> Path:
    """Make the folder in the first place that can hold it, rid of what killed commands left there."""
    refused = []
    for base in _bases():
        problem = _unusable(base)
        if problem is None:
            _remove_abandoned(base)
            try:
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            except OSError as error:
                problem = error.strerror or str(error)
        refused.append(f"'{base}': {problem}")
    raise MachineError(
        f"A folder for temporary files is needed, but none can be used ({'; '.join(refused)}). Make room in one of "
        f"them, or set TMPDIR to a folder that can be written to, with a path of at most "
        f"{LONGEST_BYTES - _SUFFIX_BYTES} bytes."
    )


def _bases() -> list[str]:
    """List the places for temporary files: the user's first, then those that every machine has."""
    named = [os.environ[name] for name in ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    return list(dict.fromkeys([*map(os.path.abspath, named), "/tmp", "/var/tmp", "/dev/shm"]))


def _unusable(base: str) -> str | None:
    """Say why a place cannot hold the folder; None if it can."""
    length = len(os.fsencode(base)) + _SUFFIX_BYTES
    if length > LONGEST_BYTES:
        return "its path is too long for Unix sockets"
    try:
        free = shutil.disk_usage(base).free
    except OSError as error:
        return error.strerror or str(error)
    if free < _ROOM_BYTES:
        return f"{free / 2**20:.0f} MiB free, {_ROOM_BYTES >> 20} needed"
    return None


@contextlib.contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Hold the lock that says so. It gets its name only once it is held, so nobody takes a new folder for abandoned."""
    staged = folder / f"{_LOCK}.new"
    with staged.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        staged.rename(folder / _LOCK)
        yield


def _remove_abandoned(base: str) -> None:
    with contextlib.suppress(OSError), os.scandir(base) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX) and _is_abandoned(entry):
                remove(Path(entry.path))


def _is_abandoned(entry: "os.DirEntry[str]") -> bool:
    """Tell whether a folder is ours and nobody holds its lock."""
    try:
        if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            return False
        with (Path(entry.path) / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False
