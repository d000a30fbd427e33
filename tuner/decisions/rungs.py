"""Define rungs, the epochs at which trials are compared, and list the trials at each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.decisions.history import History, Status
from tuner.unit_cube import Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Rungs:
    """Epochs at which trials are compared, and the share of them that continues."""

    epochs: tuple[int, ...]
    """Rungs, ascending, all below the length of a full run; empty if every trial runs to the last epoch."""
    reduction_factor: float
    """η: one in η trials continues."""

    def after(self, epoch: int, full: int) -> int:
        """Return the next rung above an epoch; `full`, the length of a full run, after the last rung."""
        return next((rung for rung in self.epochs if rung > epoch), full)

    def places(self, arrived: int) -> int:
        """Return the number of trials that continue, out of those that have arrived at a rung."""
        return int(arrived / self.reduction_factor)


def arrivals(history: History, rungs: Rungs, rung: int) -> tuple[NDArray[np.int64], Floats]:
    """Return the trials at a rung and their metrics there; minus infinity for those that were lost on the way to it."""
    values = history.values[:, rung - 1]
    before = max((r for r in rungs.epochs if r < rung), default=0)
    lost = (history.status == Status.LOST) & (history.reached >= before) & ~np.isfinite(values)
    arrived = np.flatnonzero(np.isfinite(values) | lost)
    return arrived, np.where(lost[arrived], -np.inf, values[arrived])
