"""Do work that fills a shared cache once, although several processes start it at the same time."""

import fcntl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

_POLL_S = 0.1


def once(marker: Path, work: Callable[[], None], *, patience_s: float = 120.0) -> None:
    """Do `work` and create the file `marker`, unless it exists; a second process waits until the first has done so.

    The lock ends with its process, so a kill lets the next one do the work. It is not waited for longer than
    `patience_s`: a process that hangs must not stop the others, and doing the work twice only costs time. On file
    systems that cannot be written or locked, every process works.
    """
    if marker.exists():
        return
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        lock = marker.with_name(f"{marker.name}.lock").open("ab")
    except OSError:
        work()
        return
    with lock:
        _wait_for(lock, time.monotonic() + patience_s)
        if marker.exists():
            return
        work()
        with suppress(OSError):
            marker.touch()


def _wait_for(lock: IO[bytes], deadline_s: float) -> None:
    while time.monotonic() < deadline_s:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        except OSError:
            return
        else:
            return
