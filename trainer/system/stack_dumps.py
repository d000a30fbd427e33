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
"""A dump that ends with a line and has not grown for so long is whole."""


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


def collect(run: Path, log: Path) -> None:
    """Move the dumps that are whole to the end of the log, each under its process' number."""
    with suppress(OSError):  # what cannot be read or written now is there for a human, or the next time
        for path in _files(run):
            if 0 <= time.time() - path.stat().st_mtime < _SETTLED_S:
                continue
            dump = _read(path)
            if dump.endswith("\n"):  # a busy machine can leave a process in the middle of a line for longer
                _append(dump, path.stem, log)
                os.truncate(path, 0)


def collect_finally(run: Path, log: Path) -> None:
    """Move all dumps into the log and remove their files; for when no process of the run is left."""
    with suppress(OSError):
        for path in _files(run):
            if dump := _read(path):
                _append(dump, path.stem, log)
            path.unlink()
        (run / "stacks").rmdir()


def _files(run: Path) -> list[Path]:
    return sorted((run / "stacks").glob("*.txt"))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _append(dump: str, process: str, log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"SIGUSR1: where process {process} stands\n{dump}")
