"""Run one study of the queue: `python -m tuner.study_queue.driver NUMBER`, the entry point of its Ray job.

The search is a child process, `tune run`. This process passes on the devices that the keeper grants and the user's wish
to stop. It records the end, however the child ends.
"""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tuner.exceptions import MachineError, StorageError, StudyLockedError, TunerError
from tuner.study_queue.entries import Entry, State
from tuner.study_queue.keeper import change_after_failure
from tuner.study_queue.table import QueueTable, opened_queue, queue_folder, queue_url
from tuner.system.atomic_files import write_whole
from tuner.system.grant_folder import VARIABLE, read_wanted, write_granted
from tuner.system.printable import printable

_POLL_S = 0.5
_LOOK_S = 2.0
"""Interval between two looks at the queue, in seconds."""

_RECORD_S = 600.0
"""Seconds to wait for a database to record the end in; then the keeper finds that the driver is gone."""

_MAY_PASS = frozenset({MachineError.exit_code, StorageError.exit_code, StudyLockedError.exit_code})
"""Exit codes with causes that may pass without the user: a lost cluster, a database that is away, a driver before this
one whose lease still holds."""


def search_command(entry: Entry, space: Path) -> list[str]:
    """Return the command that searches a study on the cluster of this process."""
    given = entry.submission.arguments
    name = entry.submission.study
    return [
        sys.executable,
        "-m",
        "tuner",
        "run",
        *given,
        f"--space={space}",
        f"--study={name}",
        "--address=auto",
        "--plain",
    ]


def was_interrupted(code: int) -> bool:
    """Check whether an exit code means a signal: that of a machine that shuts down, or the user's wish to stop."""
    return code < 0 or code in (75, 129, 130, 143)


class Driver:
    """The search of one entry as a child process."""

    def __init__(self, table: QueueTable, entry: Entry, folder: Path, grant: Path) -> None:
        """Prepare a search.

        Args:
            table: The queue.
            entry: Study to search.
            folder: Folder of the entry, for its space file.
            grant: Folder that passes on the devices.
        """
        self._table = table
        self._entry = entry
        self._grant = grant
        self._last_lines: collections.deque[str] = collections.deque(maxlen=1)
        self._space = folder / f"{entry.submission.space_name}.yaml"
        self._signalled_s = 0.0

    def run(self) -> int:
        """Search until the child ends, and return its exit code."""
        os.makedirs(self._space.parent, mode=0o700, exist_ok=True)  # noqa: PTH103 - submissions may contain secrets
        write_whole(self._space, self._entry.submission.space.encode())
        write_granted(self._grant, self._entry.granted)
        child = subprocess.Popen(
            search_command(self._entry, self._space),
            env={**os.environ, VARIABLE: str(self._grant), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

        def forward(signum: int, frame: FrameType | None) -> None:
            child.send_signal(signum)

        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(signum, forward)
        echo = threading.Thread(target=self._echo, args=(child,), daemon=True)
        echo.start()
        looked_s = 0.0
        while child.poll() is None:
            time.sleep(_POLL_S)
            if time.monotonic() - looked_s >= _LOOK_S:
                looked_s = time.monotonic()
                with contextlib.suppress(StorageError):  # the search continues with what it has
                    self._look(child)
        echo.join(_LOOK_S)
        return child.returncode

    def record(self, code: int) -> None:
        """Record the end in the queue, as soon as its database answers."""
        deadline = time.monotonic() + _RECORD_S
        while True:
            try:
                return self._record(code)
            except StorageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_S)

    def _record(self, code: int) -> None:
        entry, now = self._table.entry(self._entry.number), time.time()
        message = printable("".join(self._last_lines))[:500]
        state = State.DONE if code == 0 else State.STOPPED if entry.is_stopping else State.FAILED
        if state == State.FAILED and (was_interrupted(code) or code in _MAY_PASS):
            change_after_failure(self._table, entry, code=code, message=message, now=now)
        else:
            self._table.change(entry, state=state.value, code=code, message=message, ended=now, granted=0)

    def _look(self, child: "subprocess.Popen[str]") -> None:
        """Pass on what the queue has decided, and what the search wants."""
        entry = self._table.entry(self._entry.number)
        write_granted(self._grant, entry.granted)
        wanted = read_wanted(self._grant)
        if wanted != entry.wanted:
            self._table.change(entry, wanted=wanted)
        if entry.is_stopping and not self._signalled_s:
            self._signalled_s = time.monotonic()
            child.terminate()

    def _echo(self, child: "subprocess.Popen[str]") -> None:
        """Print what the child prints, for the log of the job, and keep its last line."""
        assert child.stdout is not None
        for line in child.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.strip():
                self._last_lines.append(line.strip())


def main(arguments: Sequence[str]) -> int:
    """Run the entry whose number is given, and return the exit code of its search."""
    number = int(arguments[0])
    try:
        with (
            opened_queue(queue_url(os.environ)) as table,
            tempfile.TemporaryDirectory(prefix="tune-grant-") as grant,
        ):
            entry = table.entry(number)
            driver = Driver(table, entry, queue_folder(os.environ) / str(number), Path(grant))
            code = driver.run()
            driver.record(code)
            return code
    except TunerError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
