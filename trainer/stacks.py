"""What hangs, seen from outside: on SIGUSR1 a training process writes where each of its threads stands.

The dump is made in the signal's own handler, so it works while the process waits for a lock or is caught in C code.
Each process writes to a file of its own, for they all get the signal at once and write in small pieces; whoever
watches the run, or starts it again, moves the files into its log.
"""

import faulthandler
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_SETTLED_S = 0.5
"""A dump that has not grown for so long is whole."""


def dump_on_request(run: Path) -> None:
    """On SIGUSR1 write the stacks of all threads into the run's folder; processes forked later do the same."""
    folder = run / "stacks"

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    def register() -> None:
        with suppress(OSError):  # of a full disk or table of files: then the parent's file takes this one's dump too
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            faulthandler.register(signal.SIGUSR1, file=os.open(folder / f"{os.getpid()}.txt", flags), all_threads=True)
        unblock()

    register()
    # A child hears the signal once it has a file of its own; before, its dump and its parent's would mix in one.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=register)


def collect(run: Path, log: Path, *, settled_s: float = _SETTLED_S) -> None:
    """Move the dumps that have not changed for `settled_s` to the end of the log, each under its process' number."""
    with suppress(OSError):  # what cannot be read or written now is there for a human, or the next time
        for path in sorted((run / "stacks").glob("*.txt")):
            status = path.stat()
            if not status.st_size or 0 <= time.time() - status.st_mtime < settled_s:
                continue
            dump = path.read_text(encoding="utf-8", errors="replace")
            with log.open("a", encoding="utf-8") as file:
                file.write(f"SIGUSR1: where process {path.stem} stands\n{dump}")
            os.truncate(path, 0)


def collect_finally(run: Path, log: Path) -> None:
    """Move all dumps into the log and remove their files; for when no process of the run is left."""
    collect(run, log, settled_s=0.0)
    folder = run / "stacks"
    with suppress(OSError):
        for path in folder.glob("*.txt"):
            if not path.stat().st_size:
                path.unlink()
        folder.rmdir()
