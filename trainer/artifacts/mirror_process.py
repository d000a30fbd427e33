"""Push and pull in a process next to training: `python -m trainer.artifacts.mirror_process URL FOLDER ATTEMPT`.

Reads commands from standard input and answers each on standard output, one JSON object a line. A push that fails is
answered with its problem, and tried again until it succeeds or a newer one arrives: `.push/N` holds the files of the
N-th push. The process ends when its standard input closes.

Training itself must not do this: the clients of file systems start threads, and data loaders fork.
"""

import json
import os
import select
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from trainer.artifacts.run_store import RunStore
from trainer.exceptions import Superseded
from trainer.system.processes import die_with_parent
from trainer.system.remote_folder import told
from tuner.contract.locations import without_credentials

PUSHES = ".push"
"""Hidden folder in a run's folder for the files of pushes that are not complete."""

_RETRY_S = (1.0, 2.0, 5.0, 10.0)
"""Waits between attempts at a push, in seconds; the last one repeats."""

Command = dict[str, Any]


class _Commands:
    """Commands from standard input, read without a buffer, so that `select` sees all of them."""

    def __init__(self) -> None:
        self._buffer = b""
        self.closed = False

    def read(self, timeout_s: float | None) -> list[Command]:
        """Return the commands that have arrived; wait at most `timeout_s` for the first, or for as long as it takes."""
        if not self.closed and select.select([0], [], [], timeout_s)[0]:
            chunk = os.read(0, 65536)
            self.closed = not chunk
            self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]


class _Mirror:
    def __init__(self, url: str, folder: Path, attempt: int) -> None:
        self._url, self._folder, self._attempt = url, folder, attempt
        self._opened: RunStore | None = None

    def carry_out(self, command: Command) -> Command:
        """Carry out a command, and return the answer."""
        answer = {"number": command["number"], "problem": "", "superseded": False}
        try:
            if self._opened is None:
                self._opened = RunStore(self._url, self._attempt)
            if command["do"] == "pull":
                self._opened.pull(self._folder)
            else:
                files = self._folder / PUSHES / str(command["number"])
                self._opened.push(files, command["epoch"], ended=command["ended"])
        except Superseded as error:
            return {**answer, "superseded": True, "problem": str(error)}
        except Exception as error:  # each file system raises its own errors
            self._opened = None  # connections may be broken
            return {**answer, "problem": f"the artifact store '{without_credentials(self._url)}' failed: {told(error)}"}
        return answer

    def forget(self, number: int) -> None:
        """Remove the files of pushes up to this one."""
        for folder in (self._folder / PUSHES).glob("[0-9]*"):
            if int(folder.name) <= number:
                shutil.rmtree(folder, ignore_errors=True)


def serve(url: str, folder: Path, attempt: int) -> None:
    """Answer commands until standard input closes."""
    mirror, commands = _Mirror(url, folder, attempt), _Commands()
    waiting: Command | None = None
    failures = 0
    while True:
        wait_s = None if waiting is None else _RETRY_S[min(failures, len(_RETRY_S)) - 1]
        for command in commands.read(wait_s):
            if waiting is not None:
                mirror.forget(waiting["number"])
            waiting, failures = command, 0
        if commands.closed:
            return
        if waiting is None:
            continue
        answer = mirror.carry_out(waiting)
        is_done = not answer["problem"] or answer["superseded"]
        if is_done or waiting["do"] == "pull":  # whoever waits for a pull decides whether to repeat it
            mirror.forget(waiting["number"])  # before the answer, after which the run may end this process
            waiting, failures = None, 0
        else:
            failures += 1
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Serve one run."""
    die_with_parent()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)  # they reach the whole group; training ends first, and pushes its files
    url, folder, attempt = arguments
    serve(url, Path(folder), int(attempt))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
