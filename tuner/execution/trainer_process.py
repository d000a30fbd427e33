"""Run the trainer as a child process: requests in, records out, and nothing left running."""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tuner.contract import (
    ContractError,
    EndRecord,
    EpochRecord,
    Outcome,
    Record,
    Request,
    StartedRecord,
    TrainRequest,
    decode,
    encode,
)
from tuner.execution.watchdog import HangTimeouts, Watch
from tuner.system.scratch import remove

STOP_GRACE_S = 5.0
"""Seconds that a trainer may take to stop cleanly after SIGTERM."""

_PUSH_GRACE_S = 25.0
"""The same for a trainer that first pushes the files of its run to a store."""

_REAPED_S = 1.0
"""Seconds that a trainer gets to reap a training process that was killed."""

_GONE_S = 5.0
"""Seconds to wait for killed processes to be gone; they hold a GPU until then."""

_POLL_S = 0.02
_DUMP_S = 1.0
"""Seconds that a hung trainer gets to write its stacks."""


class TrainerProcess:
    """A trainer and its current request.

    The trainer is started by the first request and kept for the next ones. It leads a process group of its own,
    as does each training process that it names in its `started` record.
    """

    def __init__(self, command: Sequence[str], *, error_log: Path | None = None) -> None:
        """Prepare a trainer; the first request starts it.

        Args:
            command: Command of the trainer.
            error_log: File for its standard error, whose last line is reported if it dies; None for our own.
        """
        self._command = list(command)
        self._error_log = error_log
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        """Folder for its temporary files, which it cannot remove when it is killed."""
        self._buffer = b""
        self._training_pid: int | None = None
        self._busy = False
        self._pushes = False
        """True if the request keeps its files in a store."""
        self._failed_start = ""
        self._unanswered: Request | None = None
        """Request to a trainer that has served before, until the trainer reacts to it."""
        self._watch: Watch | None = None

    @property
    def is_busy(self) -> bool:
        """True if the trainer has a request whose end has not arrived."""
        return self._busy

    def send(self, request: Request, hang_timeouts: HangTimeouts | None = None) -> None:
        """Send a request; a running request is stopped first.

        Args:
            request: Request to send.
            hang_timeouts: Limits for the silence of the trainer before it is killed as hung; None for no limit.
        """
        self.stop_request()
        self._watch = None if hang_timeouts is None else Watch(hang_timeouts, time.monotonic())
        self._busy = True
        self._pushes = isinstance(request, TrainRequest) and bool(request.artifacts)
        self._unanswered = None
        if self._process is not None and self._process.poll() is None:
            self._unanswered = request
        elif not self._start():
            return
        self._write(request)

    def receive(self, timeout_s: float) -> list[Record]:
        """Return the records that have arrived, waiting at most `timeout_s` for the first; none after the end.

        If the trainer dies, or writes a line that is not a record, the request ends with an `error` record, which is
        retryable if the process was killed. A trainer that is silent for too long is killed, and its request ends
        with a `hung` record.
        """
        records: list[Record] = []
        deadline = time.monotonic() + timeout_s
        while self._busy:
            if self._failed_start:
                message, self._failed_start = self._failed_start, ""
                self._end_request()
                return [EndRecord(outcome=Outcome.ERROR, message=message)]
            records += self._parsed()
            if records or not self._busy:
                break
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return self._hung()
            if not self._read(remaining) and not self._sent_again():
                records.append(self._lost())
        return records

    def stop_request(self) -> None:
        """Stop the running request, if any: SIGTERM to its process group, SIGKILL after the grace period."""
        if not self._busy:
            return
        if self._training_pid is None:  # no record yet: it is between the request and its `started`
            self.receive(timeout_s=0.5)
        if self._training_pid is not None:
            _signal_group(self._training_pid, signal.SIGTERM)
            deadline = time.monotonic() + (_PUSH_GRACE_S if self._pushes else STOP_GRACE_S)
            while self._busy and time.monotonic() < deadline:
                self.receive(timeout_s=max(0.0, deadline - time.monotonic()))
        if self._busy:
            self.close()

    def close(self) -> None:
        """Kill the trainer and everything that it started."""
        process, self._process = self._process, None
        training_pid = self._training_pid
        self._end_request()
        if process is None:
            return
        if training_pid is not None:
            _signal_group(training_pid, signal.SIGKILL)
            _await_end(training_pid, process, _REAPED_S)
        _signal_group(process.pid, signal.SIGKILL)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        process.wait()
        if training_pid is not None:
            _await_end(training_pid, process, _GONE_S)
        self._remove_folder()

    def _remove_folder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            remove(folder)

    def _start(self) -> bool:
        self._buffer = b""
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="t-"))  # short, for sockets
            with self._error_log.open("ab") if self._error_log else contextlib.nullcontext() as errors:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                    env={**os.environ, "TMPDIR": str(self._folder)},
                )
        except OSError as error:
            self._remove_folder()
            self._failed_start = f"the trainer '{self._command[0]}' cannot be started: {error.strerror}"
            return False
        return True

    def _write(self, request: Request) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died, which `receive` reports
            self._process.stdin.write((encode(request) + "\n").encode())
            self._process.stdin.flush()

    def _sent_again(self) -> bool:
        """Send the request to a fresh trainer if the used one ended without reacting to it; return True if so.

        A trainer may end after any `end`, or die if a stop request arrives while it ends. Both can happen while the
        next request is on its way.
        """
        request, self._unanswered = self._unanswered, None
        if request is None:
            return False
        self.close()
        self._busy = True
        if self._start():
            self._write(request)
        return True

    def _read(self, timeout_s: float) -> bool:
        """Add the received bytes to the buffer; return False if the trainer has closed its end of the pipe."""
        assert self._process is not None
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        if not select.select([fd], [], [], timeout_s)[0]:
            return True
        chunk = os.read(fd, 65536)
        self._buffer += chunk
        return bool(chunk)

    def _parsed(self) -> list[Record]:
        records: list[Record] = []
        while b"\n" in self._buffer and self._busy:
            self._unanswered = None
            line, _, self._buffer = self._buffer.partition(b"\n")
            try:
                message = decode(line.decode(errors="replace"))
            except ContractError as error:
                self.close()
                return [*records, EndRecord(outcome=Outcome.ERROR, message=str(error))]
            if self._watch is not None:
                self._watch.heard(time.monotonic(), message.seconds if isinstance(message, EpochRecord) else None)
            if isinstance(message, StartedRecord):
                self._training_pid = message.pid
            if isinstance(message, EndRecord):
                self._end_request()
            records.append(message)  # type: ignore[arg-type]  # a trainer never sends requests
        return records

    def _lost(self) -> EndRecord:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        message = f"the trainer {how}{self._last_words()}"
        return EndRecord(outcome=Outcome.ERROR, message=message, retryable=code < 0)

    def _last_words(self) -> str:
        if self._error_log is None:
            return ""
        lines = self._error_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1].strip()}" if lines else ""

    def _hung(self) -> list[Record]:
        """Kill a trainer that has been silent for too long and return the end of its request; otherwise nothing."""
        complaint = self._watch.complaint(time.monotonic()) if self._watch is not None else None
        if complaint is None:
            return []
        if self._training_pid is not None:
            for signum in (signal.SIGUSR1, signal.SIGCONT):  # makes even a stopped process log its stacks
                _signal_group(self._training_pid, signum)
            time.sleep(_DUMP_S)
        self.close()
        return [EndRecord(outcome=Outcome.HUNG, message=complaint, retryable=True)]

    def _end_request(self) -> None:
        self._busy = False
        self._training_pid = None


def _signal_group(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)


def _await_end(group: int, trainer: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    """Wait until no process of a killed group is left."""
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            trainer.poll()  # reaps the trainer if it leads the group
            os.killpg(group, 0)
            time.sleep(_POLL_S)
