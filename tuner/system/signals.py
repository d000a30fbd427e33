"""Stop a run cleanly on a signal, with an exit code for each signal."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

PREEMPTED = 75
"""Exit code after SIGUSR1 or SIGUSR2, which schedulers send as a warning: requeue the job. (EX_TEMPFAIL, sysexits.h)"""

_ONE_REQUEST_S = 0.25
"""Seconds within which signals count as one request: `timeout` signals its child, then the group with the child."""


def _exit_code(signum: int) -> int:
    return PREEMPTED if signum in (signal.SIGUSR1, signal.SIGUSR2) else 128 + signum


class Interrupted(BaseException):
    """A signal has stopped the run cleanly; the same command resumes it.

    It is not an Exception: it is raised anywhere in the main thread, and no handler must catch it as an error.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; run the same command to resume")
        self.exit_code = _exit_code(signum)


class Signals:
    """The signals received so far."""

    def __init__(self, arrivals: int) -> None:
        self.received: int | None = None
        self._arrivals = arrivals
        """Pipe that receives the number of each signal on arrival."""
        self._arrived: int | None = None
        self._received_s = 0.0
        self._end: Callable[[str], None] | None = None
        self._handled = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup, closing the terminal must have no effect
            self._handled.append(signal.SIGHUP)

    def arm(self) -> dict[int, Any]:
        """Install our handlers and return the previous ones. Repeat this after Ray and Tune, which replace some.

        Ray does so on connecting and on disconnecting, Tune on starting.
        """
        return {signum: signal.signal(signum, self._handle) for signum in self._handled}

    @contextlib.contextmanager
    def ending(self, end: Callable[[str], None]) -> Iterator[None]:
        """Within the block, let a signal call `end` with the reason instead of raising at once."""
        self.check()
        self._end = end
        try:
            yield
        finally:
            self._end = None
        self.check()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a signal raise only at the end of the block, because code in it would lose or mishandle the exception.

        C extensions swallow any exception in places, as does Python in finalizers and callbacks.
        """
        with self.ending(lambda reason: None):
            yield

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Let the first signal raise only after the block; unlike `deferred`, also run it if a signal arrived before.

        For code that ends a run, for whatever reason, and must not be interrupted half-way.
        """
        received = self.received
        end, self._end = self._end, lambda reason: None
        try:
            yield
        finally:
            self._end = end
        if received is None:
            self.check()

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            if self._is_repeated(signum):
                return
            os._exit(_exit_code(signum))  # a second request: Ray's processes and the trainers end too
        self.received, self._received_s = signum, time.monotonic()
        if self._end is None:
            raise Interrupted(signum)
        self._end(f"stopped by {signal.Signals(signum).name}")

    def _is_repeated(self, signum: int) -> bool:
        """Check whether another signal repeats the first request, and is not a second request of the user.

        A closing terminal sends SIGHUP several times: the kernel, the shell, and the kernel again for the shell.
        """
        return signum == signal.SIGHUP or time.monotonic() - self._received_s < _ONE_REQUEST_S

    def check(self) -> None:
        if self.received is not None:
            raise Interrupted(self.received)

    def awaited(self, timeout_s: float = 0.0) -> Interrupted | None:
        """Wait for a signal and return it, even if the main thread hangs and cannot handle it; None after the timeout.

        Only one thread other than the main thread may call this.
        """
        if self.received is None and self._arrived is None and select.select([self._arrivals], [], [], timeout_s)[0]:
            self._arrived = os.read(self._arrivals, 1)[0]
        signum = self.received or self._arrived
        return None if signum is None else Interrupted(signum)


@contextlib.contextmanager
def trapped_signals() -> Iterator[Signals]:
    """Handle signals that stop a process: the first stops it cleanly, a second one at once."""
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
