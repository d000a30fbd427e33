"""Run a tracker's library in a process of its own: `python -m tuner.trackers.sender NAME`.

The driver writes a `Subject` and then one `LoggedRun` after the other to standard input, each on one line, and reads
one `Answer` for each run. At the end of the input the process closes the tracker, answers once more and ends.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Protocol

from tuner.system.masking import without_secrets
from tuner.system.printable import printable
from tuner.trackers.messages import CLOSE_S, Answer, LoggedRun, Subject

_LONGEST_PROBLEM = 300
"""Maximum number of characters of a problem: libraries put whole answers of servers into their errors."""


class Tracker(Protocol):
    """Access to one tracker."""

    def log(self, run: LoggedRun) -> None:
        """Log a run, or what is new of it.

        The first call for a run in a process contains all of it. The tracker leaves out what an earlier process has
        logged.

        Raises:
            Exception: Anything that the tracker's library raises; the same call can be repeated.
        """

    def close(self) -> None:
        """Send what the library has not sent yet."""


def tracker_of(name: str, subject: Subject) -> Tracker:
    """Return the tracker of this name."""
    match name:
        case "tensorboard":
            # tensorboardX imports torch for the type of an argument: two seconds, and most of this process's memory.
            sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
            from tuner.trackers.tensorboard import TensorBoard

            return TensorBoard(subject)
        case "mlflow":
            from tuner.trackers.mlflow_server import MlflowServer

            return MlflowServer(subject)
        case "wandb":
            from tuner.trackers.wandb_project import WandbProject

            return WandbProject(subject)
    raise AssertionError(name)


def main() -> None:
    """Serve the driver that has started this process."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)  # schedulers signal every process of a job, but the end of a run is ours
    lines, answers = _private_pipes()
    received = _received(lines)
    first = received()
    tracker: Tracker | None = None
    while line := received():
        try:
            tracker = tracker or tracker_of(sys.argv[1], Subject(**json.loads(first)))
            tracker.log(LoggedRun.decode(line))
        except Exception as error:
            _answer(answers, _described(error))
        else:
            _answer(answers)
    try:
        if tracker is not None:
            tracker.close()
    except Exception as error:
        _answer(answers, _described(error))
    else:
        _answer(answers)


def _answer(answers: IO[str], problem: str = "") -> None:
    with contextlib.suppress(BrokenPipeError):  # the driver is gone
        print(Answer(problem=problem).encode(), file=answers, flush=True)


def _private_pipes() -> tuple[IO[str], IO[str]]:
    """Return the pipes from and to the driver, and let libraries ask questions and print into the void."""
    lines, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "r+b") as nowhere:  # noqa: PTH123 - a descriptor is needed
        for descriptor in (0, 1, 2):
            os.dup2(nowhere.fileno(), descriptor)
    return os.fdopen(lines, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8")


def _received(lines: IO[str]) -> Callable[[], str]:
    """Return a function that waits for the next line; it returns "" at the end of the input.

    A thread reads, because the library may hang when the driver ends: this process and its children then die.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in lines:
            waiting.put(line)
        waiting.put("")
        time.sleep(CLOSE_S)
        os.killpg(0, signal.SIGKILL)  # the driver has made this process the leader of a group of its own

    threading.Thread(target=read, name="driver", daemon=True).start()
    return waiting.get


def _described(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return printable(without_secrets(text, os.environ).partition("\n")[0])[:_LONGEST_PROBLEM]


if __name__ == "__main__":
    main()
