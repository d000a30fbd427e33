"""Signals that ask a run to end: it does so in order, with an exit code that says which one came."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

PREEMPTED = 75
"""Exit code after SIGUSR1 or SIGUSR2, with which schedulers warn: please requeue. (EX_TEMPFAIL of sysexits.h)"""

_ONE_REQUEST_S = 0.25
"""Signals this close together are one request: `timeout` signals its child, and then the group with the child in it."""


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

    def __init__(self, arrivals: int) -> None:
        self.received: int | None = None
        self._arrivals = arrivals
        """A pipe with the number of each signal, put there as it arrives."""
        self._arrived: int | None = None
        self._received_s = 0.0
        self._end: Callable[[str], None] | None = None
        self._handled = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup: a closed terminal means nothing
            self._handled.append(signal.SIGHUP)

    def arm(self) -> dict[int, Any]:
        """Take the signals; returns who had them. To be repeated after Ray and Tune, which take some of them.

        Ray does so when it is joined and when it is left, Tune when it begins.
        """
        return {signum: signal.signal(signum, self._handle) for signum in self._handled}

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
            if self._is_repeated(signum):
                return
            os._exit(_exit_code(signum))  # asked twice: at once; Ray's processes and the trainers end with this one
        self.received, self._received_s = signum, time.monotonic()
        if self._end is None:
            raise Interrupted(signum)
        self._end(f"stopped by {signal.Signals(signum).name}")

    def _is_repeated(self, signum: int) -> bool:
        """Tell whether a further signal is the first request once more, and nobody's impatience.

        A terminal that closes hangs up several times: the kernel, then the shell, then the kernel for the shell.
        """
        return signum == signal.SIGHUP or time.monotonic() - self._received_s < _ONE_REQUEST_S

    def check(self) -> None:
        if self.received is not None:
            raise Interrupted(self.received)

    def awaited(self, timeout_s: float = 0.0) -> Interrupted | None:
        """The signal that has come, or comes within that time, even if the main thread hangs and cannot handle it.

        For another thread, and one only.
        """
        if self.received is None and self._arrived is None and select.select([self._arrivals], [], [], timeout_s)[0]:
            self._arrived = os.read(self._arrivals, 1)[0]
        signum = self.received or self._arrived
        return None if signum is None else Interrupted(signum)


@contextlib.contextmanager
def trapped_signals() -> Iterator[Signals]:
    """The signals that ask a process to end do so in order; a second one ends it at once."""
    arrivals, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signals = Signals(arrivals)
    before = signals.arm()
    former = signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(former)
        for signum, handler in before.items():
            signal.signal(signum, handler)
        os.close(arrivals)
        os.close(wakeup)
