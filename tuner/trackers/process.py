"""Start the process of a tracker, and pass runs to it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import asdict

from tuner.trackers.messages import Answer, LoggedRun, Subject

_LAST_S = 2.0
"""Time that a process has between the end of its output, or a kill, and its own end, in seconds."""


class TrackerProcess:
    """Process that logs to one tracker (see `tuner.trackers.sender`), and leads a process group of its own."""

    def __init__(self, tracker: str, subject: Subject, answer_s: float) -> None:
        """Start the process.

        Args:
            tracker: Name of the tracker.
            subject: Study to log.
            answer_s: Time that the tracker has to log one run, in seconds.

        Raises:
            OSError: It cannot be started.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tuner.trackers.sender", tracker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what libraries print may contain secrets
            text=True,
            encoding="utf-8",
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._lines, self._answers = self._process.stdin, self._process.stdout
        self._answered = select.poll()
        self._answered.register(self._answers, select.POLLIN)
        self._answer_s = answer_s
        self._first = json.dumps(asdict(subject))

    def log(self, run: LoggedRun) -> str:
        """Log a run; return why that failed, or ""."""
        try:
            self._lines.write(f"{self._first}\n{run.encode()}\n" if self._first else f"{run.encode()}\n")
            self._lines.flush()
        except OSError:
            return self._death()
        self._first = ""
        if not self._answered.poll(self._answer_s * 1000):
            return f"no answer within {self._answer_s:g} s"
        line = self._answers.readline()
        return Answer.decode(line).problem if line else self._death()

    def close(self, timeout_s: float) -> str:
        """Let the tracker send what it has, and kill what is left then; return why not everything was sent, or ""."""
        with contextlib.suppress(OSError):
            self._lines.close()
        try:
            if not self._answered.poll(timeout_s * 1000):
                return f"it did not end within {timeout_s:g} s"
            line = self._answers.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_S)
            return Answer.decode(line).problem if line else self._death()
        finally:
            self.kill()
            self._answers.close()

    def kill(self) -> None:
        """Kill the process and its children."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # a file system may hold it
                self._process.wait(_LAST_S)

    def _death(self) -> str:
        try:
            code = self._process.wait(_LAST_S)
        except subprocess.TimeoutExpired:
            return "its process does not answer"
        return f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended ({code})"
