"""Processes that must not outlive the one that started them."""

import signal
from contextlib import suppress
from ctypes import CDLL

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Linux: have the kernel kill this process when its parent dies, however that happens. Elsewhere: nothing."""
    with suppress(OSError, AttributeError):
        CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
