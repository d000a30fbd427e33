"""Run the command line in a child process of `tuner.python_api._driver`: `python -m tuner.python_api._child FD ARG...`.

It writes the error, if there is one, to the file descriptor FD, and stops cleanly when its parent dies.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

from tuner.cli.main import main

_PR_SET_PDEATHSIG = 1
_MAX_BYTES = 32_768
"""Fits into a pipe that nobody reads yet."""


def _stop_with_parent() -> None:
    """Linux: receive SIGTERM when the parent dies, because nobody could stop the run after that."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    _stop_with_parent()
    descriptor, arguments = int(sys.argv[1]), sys.argv[2:]
    main(arguments, tell=lambda error: os.write(descriptor, error.encode("utf-8", "backslashreplace")[:_MAX_BYTES]))
