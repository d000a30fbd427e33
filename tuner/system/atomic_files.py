"""Write files whole or not at all.

After a kill or a loss of power, a file is what it was before or what it was meant to become. The content is on the disk
before the name points to it. When `write_whole` returns, the name is on the disk as well. `trainer.system.atomic_files`
gives the same guarantee. Here, several processes may write a file at once.
"""

import contextlib
import errno
import os
import secrets
from pathlib import Path

_UNSUPPORTED = frozenset({errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""How file systems that cannot sync a folder say so."""


def write_whole(target: Path, content: bytes) -> None:
    """Write a file atomically, replacing an existing one.

    Raises:
        OSError: it cannot be written. What was there is as it was, unless only the folder could not be synced.
    """
    # An unpredictable name and mode "x": in a shared folder somebody could prepare a link from it to one of our files.
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(fd)
