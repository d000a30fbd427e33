"""Keep the files of a run in its store while it trains: pull them at the start, push them after each epoch."""

import json
import logging
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trainer.artifacts.mirror_process import PUSHES
from trainer.artifacts.run_store import stored_files
from trainer.exceptions import StoreError, Superseded
from trainer.system import atomic_files
from tuner.contract import EndRecord, Outcome, TrainRequest
from tuner.contract.run_folder import WEIGHTS

_PULL_S = 1800.0
"""Time that an attempt waits for an unreachable store before it trains, in seconds."""

_PULL_AGAIN_S = 5.0

_PUSH_S = 30.0
"""Time that training waits for the push of the epoch before, in seconds; once per outage of the store."""

_STOP_S = 20.0
"""Time that a run that must end waits for its last push, in seconds; the tuner kills it soon afterwards."""

_END_S = 300.0
"""Time that a run with all epochs trained waits for its last push, in seconds."""

_PROCESSES = 3
"""Processes that may die during the last push, before it is given up."""

logger = logging.getLogger("trainer")


class Mirror:
    """Copy of a run's folder in its store, for one attempt. At most one push is in progress at a time."""

    def __init__(self, request: TrainRequest) -> None:
        self._folder = Path(request.directory)
        self._command = [request.artifacts, request.directory, str(request.attempt)]
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._number = 0
        self._answered = 0
        """Number of the last command that succeeded."""
        self._problem = ""
        """Reason why the latest push failed, one line; empty if it succeeded."""

    def pull(self) -> None:
        """Claim the run for this attempt, and fetch the files of the last one.

        Waits for an unreachable store: without the files, trained epochs would be lost.

        Raises:
            StoreError: The store has not answered for half an hour.
            Superseded: A later attempt has taken over the run.
        """
        deadline_s = time.monotonic() + _PULL_S
        while True:
            self._send(do="pull")
            if self._await(deadline_s, until_answer=True):
                return
            logger.warning("%s; waiting for it before training", self._problem)
            if time.monotonic() + _PULL_AGAIN_S > deadline_s:
                raise StoreError(f"{self._problem}; check the network and the credentials of this machine")
            time.sleep(_PULL_AGAIN_S)

    def push(self, epoch: int) -> None:
        """Start to push the files as they are after this epoch.

        Waits for the push before, so that a lost machine costs at most one epoch more, unless the store is unreachable.

        Raises:
            Superseded: A later attempt has taken over the run.
        """
        if self._is_busy and not self._problem:
            self._await(time.monotonic() + _PUSH_S, until_answer=True)
        self._await(0.0)
        if self._is_busy and not self._problem:
            self._problem = f"a push takes longer than {_PUSH_S:.0f} s"
        if self._problem:
            logger.warning("%s; training continues, and the push is tried again", self._problem)
        self._push(epoch, ended=False)

    def flush(self, end: EndRecord, epoch: int) -> str:
        """Push the files as they are after the end of the run, and wait for it.

        Returns:
            The problem, one line, if the store does not have all files; "" if it has.

        Raises:
            Superseded: A later attempt has taken over the run.
        """
        limit_s = _END_S if end.outcome == Outcome.COMPLETED else _STOP_S
        deadline_s = time.monotonic() + limit_s
        for _ in range(_PROCESSES):
            self._push(epoch, ended=True)
            if self._await(deadline_s):
                return ""
            if self._process is not None:  # it is alive, so the store is at fault
                break
        return self._problem or f"the artifact store does not answer within {limit_s:.0f} s"

    def close(self) -> None:
        """End the process, which drops what it has not pushed."""
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    @property
    def _is_busy(self) -> bool:
        return self._answered < self._number

    def _push(self, epoch: int, *, ended: bool) -> None:
        self._snapshot(self._folder / PUSHES / str(self._number + 1))
        self._send(do="push", epoch=epoch, ended=ended)

    def _snapshot(self, target: Path) -> None:
        """Keep the files as they are now: weights are only ever replaced, so a second name is enough for them."""
        for name, file in stored_files(self._folder):
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not (name.startswith(f"{WEIGHTS}/") and atomic_files.replace_by_link(file, copy)):
                shutil.copyfile(file, copy)

    def _send(self, **command: Any) -> None:
        self._number += 1
        line = json.dumps({"number": self._number, **command}) + "\n"
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(line.encode())
            process.stdin.flush()
        except BrokenPipeError:
            self._problem = "the process that pushes files has died"
            self.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "trainer.artifacts.mirror_process", *self._command]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._buffer = b""
        return self._process

    def _await(self, deadline_s: float, *, until_answer: bool = False) -> bool:
        """Read answers until the last command has succeeded; return whether it has.

        Args:
            deadline_s: Time on the monotonic clock to give up; in the past to read only what has arrived.
            until_answer: Return after any answer to the last command, also if it failed.
        """
        while self._is_busy:
            answer = self._next_answer(deadline_s)
            if answer is None:
                return False
            if answer["superseded"]:
                logger.warning("%s; this one ends", answer["problem"])
                raise Superseded
            self._problem = answer["problem"]
            if not self._problem:
                self._answered = answer["number"]
            elif until_answer and answer["number"] == self._number:
                return False
        return True

    def _next_answer(self, deadline_s: float) -> dict[str, Any] | None:
        """Return the next answer; None if there is none in time, or the process has died."""
        while b"\n" not in self._buffer:
            if self._process is None or self._process.stdout is None:
                return None
            left_s = max(deadline_s - time.monotonic(), 0.0)
            if not select.select([self._process.stdout], [], [], left_s)[0]:
                return None
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk:
                self._problem = "the process that pushes files has died"
                self.close()
                return None
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer
