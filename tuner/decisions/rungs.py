"""Rungs: the epochs at which trials are compared, and who is ahead there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.decisions.history import History, Status
from tuner.unit_cube import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Rungs:
    """When trials are compared, and how many of them go on."""

    epochs: tuple[int, ...]
    """Increasing, all below the length of a full run; empty where every trial runs to its end."""
    reduction_factor: float
    """η: one trial of so many goes on."""

    def after(self, epoch: int, full: int) -> int:
        """The next rung above an epoch; `full`, the length of a full run, above the last."""
        return next((rung for rung in self.epochs if rung > epoch), full)

    def places(self, arrived: int) -> int:
        """How many of those that arrived at a rung go on."""
        return int(arrived / self.reduction_factor)


def arrivals(history: History, rungs: Rungs, rung: int) -> tuple[NDArray[np.int64], Floats]:
    """Who has arrived at a rung, and their metrics there; minus infinity for those that were lost on the way to it."""
    values = history.values[:, rung - 1]
    before = max((r for r in rungs.epochs if r < rung), default=0)
    lost = (history.status == Status.LOST) & (history.reached >= before) & ~np.isfinite(values)
    arrived = np.flatnonzero(np.isfinite(values) | lost)
    return arrived, np.where(lost[arrived], -np.inf, values[arrived])
