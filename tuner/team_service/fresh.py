"""Keep values for a short time, so that many readers cost one look at the database."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Fresh(Generic[Value]):
    """Values by key, each read again when it is too old. Safe for threads; a key is read by one thread at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, most: int = 500) -> None:
        """Start empty.

        Args:
            clock: Monotonic time in seconds.
            most: Maximum number of values to keep.
        """
        self._clock = clock
        self._most = most
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._values: OrderedDict[str, tuple[float, Value]] = OrderedDict()
        """Time of the reading and the value; the one that was read last is the last one."""

    def known(self, key: str) -> Value | None:
        """Return the last value of a key, however old it is; None if it was never read."""
        found = self._values.get(key)
        return None if found is None else found[1]

    def read_s(self, key: str) -> float:
        """Return the time at which a key was read last, on the clock; minus infinity for never."""
        found = self._values.get(key)
        return -math.inf if found is None else found[0]

    def get(self, key: str, age_s: float, read: Callable[[], Value]) -> Value:
        """Return the value of a key, read at most `age_s` seconds ago.

        What `read` raises is passed on, and nothing is kept.
        """
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            known = self._values.get(key)
            if known is not None and self._clock() - known[0] < age_s:
                return known[1]
            value = read()
            with self._lock:
                self._values[key] = (self._clock(), value)
                self._values.move_to_end(key)
                if len(self._values) > self._most:
                    oldest, _ = self._values.popitem(last=False)
                    self._locks.pop(oldest, None)
            return value
