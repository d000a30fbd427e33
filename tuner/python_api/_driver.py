"""Run the command line in a child process: no signal handler, no Ray and no output in the process of the caller."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

from tuner.exceptions import (
    DataError,
    FailurePolicyError,
    MachineError,
    NoSuccessfulTrialError,
    RunStoppedError,
    SpaceError,
    StorageError,
    StudyLockedError,
    TunerError,
    UsageError,
)

Progress = bool | Callable[[str], object]
"""What to do with the lines that the command prints: True prints them, False drops them, a function receives each."""

_ERRORS = {
    error.exit_code: error
    for error in (
        UsageError,
        SpaceError,
        DataError,
        MachineError,
        NoSuccessfulTrialError,
        FailurePolicyError,
        StorageError,
        StudyLockedError,
    )
}
_STOPPED = {75, 129, 130, 143}
"""Exit codes of a run that was stopped by a signal and can be resumed."""

_COLOUR_VARIABLES = {"FORCE_COLOR", "CLICOLOR_FORCE"}
"""Jupyter sets them for child processes; a run would draw its live view into the lines."""

_POLL_S = 0.2
_LAST_LINES_S = 2.0
"""Time for the last lines of a process that has ended; a process that it left behind may keep the pipe open."""

_STOP_S = 60.0
"""Time in which a run that is no longer wanted writes its states; then it is killed."""


def drive(arguments: Sequence[str], progress: Progress, environment: Mapping[str, str] | None = None) -> None:
    """Run `tune ARGUMENTS...`, and wait for its end.

    KeyboardInterrupt stops the command as Ctrl+C does: it writes its states, and a second one ends it at once.

    Args:
        arguments: Arguments of the command.
        progress: What to do with the lines that it prints.
        environment: Environment variables to add, for values that other users must not see.

    Raises:
        TunerError: The command failed; the class tells what to do, as its exit code does.
        KeyboardInterrupt: The caller was interrupted; the command has stopped and can be resumed.
    """
    listen = listener(progress)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as error:
        try:
            child = _started(arguments, writer, environment)
        finally:
            os.close(writer)
        with child, _stopped_at_the_end(child):
            was_interrupted = _follow(child, listen)
        told = error.read().decode("utf-8", "replace").strip()
    if was_interrupted:
        raise KeyboardInterrupt(told)
    if child.returncode:
        raise _error(child.returncode, told)


def listener(progress: Progress) -> Callable[[str], object]:
    """Return the function that receives the lines."""
    if callable(progress):
        return progress
    return (lambda line: print(line, flush=True)) if progress else (lambda line: None)  # noqa: T201 - asked for


def _started(
    arguments: Sequence[str], error_descriptor: int, environment: Mapping[str, str] | None
) -> "subprocess.Popen[str]":
    inherited = {name: value for name, value in os.environ.items() if name not in _COLOUR_VARIABLES}
    return subprocess.Popen(
        [sys.executable, "-m", "tuner.python_api._child", str(error_descriptor), *arguments],
        env={**inherited, "TERM": "dumb", "COLUMNS": "120", **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(error_descriptor,),
        # Jupyter and terminals interrupt the whole process group; the command must receive each interrupt once.
        start_new_session=True,
    )


def _follow(child: "subprocess.Popen[str]", listen: Callable[[str], object]) -> bool:
    """Pass on each line until the command has ended; return whether an interrupt stopped it."""
    assert child.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reading = threading.Thread(target=_read, args=(child.stdout, lines), daemon=True, name="tune output")
    reading.start()
    was_interrupted = False
    while True:
        try:
            if child.poll() is not None:
                reading.join(_LAST_LINES_S)
                while not lines.empty():
                    listen(lines.get())
                return was_interrupted
            with contextlib.suppress(queue.Empty):
                listen(lines.get(timeout=_POLL_S))
        except KeyboardInterrupt:
            was_interrupted = True
            child.send_signal(signal.SIGINT)


def _read(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    with contextlib.suppress(ValueError, OSError):  # closed under our feet, because a left-over process holds it
        for line in stream:
            lines.put(line.rstrip("\n"))


@contextlib.contextmanager
def _stopped_at_the_end(child: "subprocess.Popen[str]") -> Iterator[None]:
    """Stop the command if the block fails, for example in the caller's function for progress."""
    try:
        yield
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _error(code: int, told: str) -> TunerError:
    if code in _STOPPED:
        return RunStoppedError(told)
    if code < 0:
        name = signal.Signals(-code).name
        return RunStoppedError(f"The run was killed by {name}; nothing is lost: call it again to resume.")
    return _ERRORS.get(code, TunerError)(told or f"The command ended with exit code {code}.")
