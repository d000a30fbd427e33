"""Write files whole or not at all.

After a kill or a loss of power, a file is what it was before or what it was meant to become. The content is on the disk
before the name points to it. When `write_whole` returns, the name is on the disk as well. `tuner.system.atomic_files`
gives the same guarantee. Here, one process at a time writes a file: a kill leaves at most one draft, which the next
attempt replaces.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_UNSUPPORTED = frozenset(
    {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}
)
"""Error numbers of file systems without hard links or without sync of folders."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock on this file for the duration of the block; a lock is released when its process ends.

    Waits for the current holder. On file systems without locks, runs the block without one.
    """
    with path.open("ab") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, data: bytes) -> None:
    """Write a file in the place of what may be there.

    Raises:
        OSError: it could not be written.
    """
    staged = stage(path, data)
    try:
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    sync(path.parent)


def stage(path: Path, data: bytes) -> Path:
    """Write and sync this content next to `path`, and return the new path, to be moved to `path`.

    On an error, no file is left behind.
    """
    staged = staging_path(path)
    staged.unlink(missing_ok=True)  # never overwritten in place: it may be a second name of a file in use
    fd = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    return staged


def replace_by_link(source: Path, target: Path) -> bool:
    """Make `target` a second name of the file `source`; `target` exists at every moment. Does not sync.

    Returns:
        True on success. If the file system cannot do it, False, and nothing has changed.
    """
    staged = staging_path(target)
    staged.unlink(missing_ok=True)
    try:
        staged.hardlink_to(source)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    staged.replace(target)
    staged.unlink(missing_ok=True)  # rename leaves it, by definition, if both were already names of one file
    return True


def sync(folder: Path) -> None:
    """Wait until the names in this folder are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(fd)


def staging_path(path: Path) -> Path:
    """Return the path where the content of `path` is prepared."""
    return path.with_name(f"{path.name}.tmp")


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
