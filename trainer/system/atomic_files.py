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
"""How file systems without hard links, or that cannot sync a folder, say so."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """The lock on this file for the time of the block; waits for whoever holds it, and ends with this process.

    File systems without locks are taken as they are.
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
    """Write and sync this content beside `path`, or leave nothing there. Returns where, to be moved to `path`."""
    staged = staging_path(path)
    staged.unlink(missing_ok=True)  # never written into: it may be a second name of a file that is needed
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
    """Make `target` a second name of the file `source`, at no moment nothing; not synced.

    Returns:
        Whether the file system could do it; if not, nothing has changed.
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
    staged.unlink(missing_ok=True)  # it stays where both were names of one file already: that is how rename is defined
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
    """Where the content of `path` is prepared."""
    return path.with_name(f"{path.name}.tmp")


def sha256(path: Path) -> str:
    """Digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
