"""What has happened in a search: all that a decision may depend on."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tuner.unit_cube import Floats

BASELINE = 0
"""The trial of the default configuration, where there is one."""


class Status(IntEnum):
    """What a trial is doing."""

    RUNNING = 0
    PAUSED = 1
    """It has trained as far as it was granted, and may be granted more."""
    COMPLETE = 2
    STOPPED = 3
    """Judged not worth going on, for good."""
    LOST = 4
    """It diverged, or the machine cannot train it: nothing is worse."""
    UNKNOWN = 5
    """It failed for reasons of its surroundings: nothing is known of its configuration."""


class History:
    """The trials of a search by number: configuration, curve, status. Decisions are functions of it.

    There is no time in it, only what was heard of each trial: a search that goes on after a crash has the same.
    """

    def __init__(self, *, epochs: int, dimensions: int) -> None:
        """An empty one.

        Args:
            epochs: length of a full run.
            dimensions: of the cube that is searched.
        """
        self.epochs = epochs
        self._number = 0
        self._points = np.empty((0, dimensions))
        self._values = np.empty((0, epochs), order="F")  # most that is asked of it is about one epoch
        self._reached = np.empty(0, np.int64)
        self._status = np.empty(0, np.int64)

    def __len__(self) -> int:
        return self._number

    @property
    def points(self) -> Floats:
        """(trials, dimensions): tidy points of the cube."""
        return self._points[: self._number]

    @property
    def values(self) -> Floats:
        """(trials, epochs): the metric after each epoch, higher is better; NaN where it is not known."""
        return self._values[: self._number]

    @property
    def reached(self) -> NDArray[np.int64]:
        """By trial: the last epoch whose metric is known; 0 before there is one."""
        return self._reached[: self._number]

    @property
    def status(self) -> NDArray[np.int64]:
        """By trial: its `Status`."""
        return self._status[: self._number]

    @property
    def last(self) -> Floats:
        """By trial: the last known metric; NaN before there is one, minus infinity for a lost trial."""
        latest = np.full(self._number, np.nan)
        some = self.reached > 0
        latest[some] = self.values[some, self.reached[some] - 1]
        latest[self.status == Status.LOST] = -np.inf
        return latest

    def begin(self, point: Floats) -> int:
        """A trial is RUNNING. Returns its number."""
        if self._number == len(self._reached):
            self._grow()
        number = self._number
        self._number += 1
        self._points[number] = point
        self._values[number] = np.nan
        self._reached[number] = 0
        self._status[number] = Status.RUNNING
        return number

    def report(self, trial: int, epoch: int, value: float) -> None:
        """The metric of a trial after an epoch (1-based); finite."""
        self._values[trial, epoch - 1] = value
        self._reached[trial] = max(self._reached[trial], epoch)

    def set_status(self, trial: int, status: Status) -> None:
        """A trial does something else from now on."""
        self._status[trial] = status

    def incumbent(self) -> int | None:
        """The trial whose configuration is the best known: that of the highest metric so far, the earlier of equals."""
        known = (self.reached > 0) & np.isin(self.status, (Status.RUNNING, Status.PAUSED, Status.COMPLETE))
        return int(np.argmax(np.where(known, self.last, -np.inf))) if known.any() else None

    def _grow(self) -> None:
        room = max(64, 2 * self._number)
        for name in ("_points", "_values", "_reached", "_status"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype, order="F" if name == "_values" else "C")
            new[: self._number] = old
            setattr(self, name, new)
