"""Stack dumps of hanging processes: on SIGUSR1 a training process writes the stacks of all its threads.

The signal handler itself writes the dump, so it works while the process waits for a lock or is stuck in C code. Each
process writes to its own file, because all processes get the signal at once and write in small pieces. The process that
watches or restarts the run moves the files into its log.
"""

import faulthandler
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_SETTLED_S = 0.5
"""Time in seconds after which a dump that ends with a line and has not grown is complete."""


def dump_on_request(run: Path) -> None:
    """Write the stacks of all threads into the run's folder on SIGUSR1, also in processes forked later."""
    folder = run / "stacks"

    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    def register() -> None:
        with suppress(OSError):  # full disk or file table: this process then dumps into its parent's file
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            faulthandler.register(signal.SIGUSR1, file=os.open(folder / f"{os.getpid()}.txt", flags), all_threads=True)
        unblock()

    register()
    # A child accepts the signal once it has its own file. Before that, its dump would mix with its parent's.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=register)


def collect(run: Path, log: Path) -> None:
    """Move complete dumps to the end of the log, each under its process ID."""
    with suppress(OSError):  # unreadable or unwritable files stay for a person or for the next call
        for path in _files(run):
            if 0 <= time.time() - path.stat().st_mtime < _SETTLED_S:
                continue
            dump = _read(path)
            if dump.endswith("\n"):  # a busy machine can leave a process in the middle of a line for longer
                _append(dump, path.stem, log)
                os.truncate(path, 0)


def collect_finally(run: Path, log: Path) -> None:
    """Move all dumps into the log and delete their files; call it when no process of the run is left."""
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
        file.write(f"SIGUSR1: stacks of process {process}\n{dump}")
