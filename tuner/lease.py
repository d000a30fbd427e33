"""One driver per study: a lock that the operating system takes back when its holder dies."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tuner.exceptions import StudyLocked


@contextlib.contextmanager
def driver_lease(path: Path) -> Iterator[None]:
    """Hold the study for this process.

    Raises:
        StudyLocked: another process holds it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode(errors="replace").strip() or "another process"
            raise StudyLocked(
                f"Only one driver may run a study, and {holder} runs this one; wait for it, or stop it."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
