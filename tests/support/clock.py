"""A clock for tests, which shows the time that they set."""


class Clock:
    """Stand in for the module `time`: waiting takes no time."""

    def __init__(self) -> None:
        self._now_s = 1000.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        self._now_s += seconds
