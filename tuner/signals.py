"""Signals that ask a run to end: it does so in order, with an exit code that says which one came."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

PREEMPTED = 75
"""Exit code after SIGUSR1 or SIGUSR2, with which schedulers warn: please requeue. (EX_TEMPFAIL of sysexits.h)"""


def _exit_code(signum: int) -> int:
    return PREEMPTED if signum in (signal.SIGUSR1, signal.SIGUSR2) else 128 + signum


class Interrupted(BaseException):
    """The run was ended by a signal, in order; the same command goes on with it.

    Not an Exception: it is raised wherever the main thread is, and nothing on the way may take it for an error.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; the same command goes on from here")
        self.exit_code = _exit_code(signum)


class Signals:
    """What came so far."""

    _HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

    def __init__(self) -> None:
        self.received: int | None = None
        self._end: Callable[[str], None] | None = None

    def arm(self) -> dict[int, Any]:
        """Take the signals; returns who had them. To be repeated after Ray and Tune, which take some of them.

        Ray does so when it is joined and when it is left, Tune when it begins.
        """
        return {signum: signal.signal(signum, self._handle) for signum in self._HANDLED}

    @contextlib.contextmanager
    def ending(self, end: Callable[[str], None]) -> Iterator[None]:
        """Let a signal that comes in the block call `end`, with the reason, instead of breaking off at once."""
        self.check()
        self._end = end
        try:
            yield
        finally:
            self._end = None
        self.check()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(_exit_code(signum))  # asked twice: at once; Ray's processes and the trainers end with this one
        self.received = signum
        if self._end is None:
            raise Interrupted(signum)
        self._end(f"stopped by {signal.Signals(signum).name}")

    def check(self) -> None:
        if self.received is not None:
            raise Interrupted(self.received)


@contextlib.contextmanager
def trapped_signals() -> Iterator[Signals]:
    """The signals that ask a process to end do so in order; a second one ends it at once."""
    signals = Signals()
    before = signals.arm()
    try:
        yield signals
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
