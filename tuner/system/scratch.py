"""One temporary folder for a command and its child processes, removed when the command ends.

A command that is killed leaves its folder behind. Its death releases the lock in the folder, so the next command
detects that the folder is unused, and removes it.
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
"""Maximum length of the folder's path. Ray's sockets need 64 more bytes, and Unix allows 107 for a socket."""

_PREFIX = "tune-"
_SUFFIX_BYTES = len("/tune-") + 8
_LOCK = "lock"
_ROOM_BYTES = 64 << 20
"""Minimum free space. Ray writes 1.5 MB at first, and then logs."""

_REMOVALS = 3
"""Number of attempts, because a dying child process may still write."""

_held: Path | None = None


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Create a folder and use it for temporary files of this process and its children within the block.

    A nested block uses the folder of the outer block.

    Raises:
        MachineError: no folder is usable.
    """
    global _held
    if _held is not None:
        yield _held
        return
    _held = folder = _made()
    atexit.register(remove, folder)  # before Ray registers: processes that Ray stops only at exit may still write
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
    """Remove a folder as completely as possible."""
    for attempt in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1 * attempt)


def _made() -> Path:
    """Create the folder in the first usable location, and remove abandoned folders there."""
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
        f"The command needs a folder for temporary files, but none is usable ({'; '.join(refused)}). Free space in "
        f"one of them, or set TMPDIR to a writable folder with a path of at most "
        f"{LONGEST_BYTES - _SUFFIX_BYTES} bytes."
    )


def _bases() -> list[str]:
    """List the locations for temporary files: the user's first, then those that every machine has."""
    named = [os.environ[name] for name in ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    return list(dict.fromkeys([*map(os.path.abspath, named), "/tmp", "/var/tmp", "/dev/shm"]))


def _unusable(base: str) -> str | None:
    """Return why a location is unusable; None if it is usable."""
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
    """Hold the folder's lock. It gets its name only when it is held, so a new folder never looks abandoned."""
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
    """Check whether a folder is ours and its lock is free."""
    try:
        if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.geteuid():
            return False
        with (Path(entry.path) / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False
