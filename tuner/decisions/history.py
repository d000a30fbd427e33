"""Keep the history of a search, the only input of its decisions."""

from collections.abc import Callable, Hashable
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tuner.unit_cube import Floats

_Derived = TypeVar("_Derived")

BASELINE = 0
"""Number of the trial of the default configuration, if there is one."""


class Status(IntEnum):
    """Status of a trial."""

    RUNNING = 0
    PAUSED = 1
    """Paused at a rung; can resume."""
    COMPLETE = 2
    STOPPED = 3
    """Stopped for good because it is not worth continuing."""
    LOST = 4
    """Diverged, or does not fit into the machine's memory: the worst result."""
    UNKNOWN = 5
    """Failed for external reasons: nothing is known about its configuration."""


class History:
    """Trials of a search by number: configuration, curves and status. All decisions are functions of it.

    It holds no times, only the reports about each trial, so a search that resumes after a crash has the same history.
    """

    def __init__(self, *, epochs: int, dimensions: int) -> None:
        """Create an empty history.

        Args:
            epochs: Length of a full run, in epochs.
            dimensions: Number of dimensions of the searched cube.
        """
        self.epochs = epochs
        self._number = 0
        self._points = np.empty((0, dimensions))
        self._values = np.empty((0, epochs), order="F")  # most queries are about a single epoch
        self._losses = np.empty((0, epochs), order="F")
        self._reached = np.empty(0, np.int64)
        self._status = np.empty(0, np.int64)
        self._derived: dict[Hashable, Any] = {}

    def __len__(self) -> int:
        return self._number

    @property
    def points(self) -> Floats:
        """Tidy points of the cube, shape (trials, dimensions)."""
        return self._points[: self._number]

    @property
    def values(self) -> Floats:
        """Metric after each epoch, shape (trials, epochs); higher is better, NaN where unknown."""
        return self._values[: self._number]

    @property
    def losses(self) -> Floats:
        """Training loss of the first and of each validated epoch, shape (trials, epochs); NaN where unknown."""
        return self._losses[: self._number]

    @property
    def reached(self) -> NDArray[np.int64]:
        """Last epoch with a known metric, by trial; 0 if there is none."""
        return self._reached[: self._number]

    @property
    def status(self) -> NDArray[np.int64]:
        """`Status` by trial."""
        return self._status[: self._number]

    @property
    def last(self) -> Floats:
        """Last known metric by trial; NaN if there is none, minus infinity for a lost trial."""
        latest = np.full(self._number, np.nan)
        some = self.reached > 0
        latest[some] = self.values[some, self.reached[some] - 1]
        latest[self.status == Status.LOST] = -np.inf
        return latest

    def has_detected(self, trial: int) -> bool:
        """Check whether a metric of a trial was not 0."""
        return bool(np.nan_to_num(self.values[trial]).any())

    def begin(self, point: Floats) -> int:
        """Add a running trial and return its number."""
        if self._number == len(self._reached):
            self._grow()
        number = self._number
        self._number += 1
        self._points[number] = point
        self._values[number] = np.nan
        self._losses[number] = np.nan
        self._reached[number] = 0
        self._status[number] = Status.RUNNING
        return number

    def report(self, trial: int, epoch: int, value: float) -> None:
        """Record the metric of a trial after an epoch (1-based); it must be finite."""
        self._values[trial, epoch - 1] = value
        self._reached[trial] = max(self._reached[trial], epoch)
        self._derived.clear()

    def note_loss(self, trial: int, epoch: int, loss: float) -> None:
        """Record the training loss of an epoch (1-based)."""
        self._losses[trial, epoch - 1] = loss
        self._derived.clear()

    def set_status(self, trial: int, status: Status) -> None:
        """Change the status of a trial."""
        if Status.LOST in (status, self._status[trial]):
            self._derived.clear()
        self._status[trial] = status

    def derived(self, key: Hashable, value: Callable[[], _Derived]) -> _Derived:
        """Return a value that is a function of the results, computed once until one changes.

        Results are the metrics, the losses and the lost trials. A trial that begins has none, so the value may be about
        fewer trials than the history.
        """
        if key not in self._derived:
            self._derived[key] = value()
        found: _Derived = self._derived[key]
        return found

    def incumbent(self) -> int | None:
        """Return the running, paused or complete trial with the highest last metric; the earliest if several are equal.

        None if no metric is known yet.
        """
        known = (self.reached > 0) & np.isin(self.status, (Status.RUNNING, Status.PAUSED, Status.COMPLETE))
        return int(np.argmax(np.where(known, self.last, -np.inf))) if known.any() else None

    def _grow(self) -> None:
        room = max(64, 2 * self._number)
        for name in ("_points", "_values", "_losses", "_reached", "_status"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype, order="F" if old.ndim == 2 and name != "_points" else "C")
            new[: self._number] = old
            setattr(self, name, new)
