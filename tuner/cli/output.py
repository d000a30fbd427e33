"""Keep standard output and error usable after their reader has gone: closing a terminal must not end training."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import TextIO


class _Lasting(io.FileIO):
    """File that discards everything after its first failed write."""

    def __init__(self, fd: int, failures: list[OSError]) -> None:
        super().__init__(fd, "w", closefd=False)
        self._failures = failures
        self._failed = False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # Buffer: Python 3.12
        size = memoryview(data).nbytes
        if self._failed:
            return size
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            self._failed = True
            self._failures.append(error)
            return size


@contextlib.contextmanager
def lasting_output() -> Iterator[list[OSError]]:
    """Prevent prints inside the block from failing; yield the first failure of each stream."""
    failures: list[OSError] = []
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_outlasting(stream, failures) for stream in before)
    try:
        yield failures
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _outlasting(stream: TextIO, failures: list[OSError]) -> TextIO:
    try:
        fd = stream.fileno()
        stream.flush()
    except (AttributeError, OSError, ValueError):  # no stream, or not a file
        return stream
    buffered = io.BufferedWriter(_Lasting(fd, failures))  # type: ignore[type-var]  # see `write`
    return io.TextIOWrapper(
        buffered, encoding=stream.encoding, errors=stream.errors, line_buffering=stream.isatty() or stream is sys.stderr
    )
