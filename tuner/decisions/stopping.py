"""Decide when a search ends before its last trial: spent budget, no improvement, or nothing to learn.

Pure functions. Time is an argument: the driver of the search measures it, and the study keeps the sum.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs
from tuner.exceptions import UsageError

DEAD_AFTER = 10
"""Number of equal results that cannot be a coincidence during a search. At its end, fewer suffice (`tuner.search`)."""

_BEYOND_FIRST_RUNG = 3
"""Number of them that must have reached the second rung: at the first one, every mAP of a good search can be 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits that the user sets for a search; None for no limit.

    Raises:
        UsageError: A limit is not a number above 0.
    """

    hours: float | None = None
    """Wall time of the search in hours, over all runs of the study."""
    gpu_hours: float | None = None
    """Training time of all trials in GPU-hours; a share of a GPU counts as this share, a slot on the CPU as a GPU."""
    no_improvement: int | None = None
    """Number of trials without a better result."""

    def __post_init__(self) -> None:
        for option, bound in (("--max-hours", self.hours), ("--gpu-hours", self.gpu_hours)):
            if bound is not None and not 0 < bound < math.inf:
                raise UsageError(f"{option} must be a number above 0, but got {bound:g}; leave it out for no limit.")
        if self.no_improvement is not None and self.no_improvement < 1:
            raise UsageError(
                f"--no-improvement must be at least 1, but got {self.no_improvement}; leave it out to try all trials."
            )

    def reached(
        self, *, searched_s: float, trained_s: Callable[[], float], since_best: Callable[[], int]
    ) -> str | None:
        """Return the limit that ends the search now, in a few words; None if no limit is reached.

        Args:
            searched_s: Wall time of the search in seconds (see `hours`).
            trained_s: Returns the training time in GPU-seconds (see `gpu_hours`); called only if it is limited.
            since_best: Returns the number of trials judged since the best result (see `since_best`); likewise.
        """
        if self.hours is not None and searched_s >= self.hours * 3600:
            return f"the budget of {self.hours:g} hours is spent (--max-hours)"
        if self.gpu_hours is not None and trained_s() >= self.gpu_hours * 3600:
            return f"the budget of {self.gpu_hours:g} GPU-hours is spent (--gpu-hours)"
        if self.no_improvement is not None and (number := since_best()) >= self.no_improvement:
            return f"no improvement in {number} trials (--no-improvement {self.no_improvement})"
        return None


def judged(history: History) -> int:
    """Count the trials that have ended or paused; failed ones say nothing about their configuration."""
    return int(np.isin(history.status, (Status.PAUSED, Status.COMPLETE, Status.STOPPED, Status.LOST)).sum())


def since_best(complete: Iterable[tuple[float, int]], judged_now: int) -> int:
    """Count the trials judged since the best result; 0 before the first result. An equal result is no better.

    Args:
        complete: For each COMPLETE trial, its metric and the number of trials judged by then, including itself.
        judged_now: Number of trials judged so far.
    """
    results = list(complete)
    best = max((value for value, _ in results), default=None)
    then = min((number for value, number in results if value == best), default=judged_now)
    return max(judged_now - then, 0)


def only_zeros(history: History, rungs: Rungs) -> bool:
    """Check whether all metrics of a search are 0, at enough rungs and last epochs that continuing is pointless.

    This takes `DEAD_AFTER` results, including a full run and some from beyond the first rung. Zeros among other values
    mean nothing: in a wide space, most configurations can end with 0.
    """
    if not np.any(history.status == Status.COMPLETE):
        return False
    values = history.values
    results = history.reached[np.isin(history.status, (Status.PAUSED, Status.COMPLETE, Status.STOPPED))]
    second_rung = rungs.after(min(rungs.epochs, default=0), history.epochs)
    is_evidence = np.sum(results > 0) >= DEAD_AFTER and np.sum(results >= second_rung) >= _BEYOND_FIRST_RUNG
    return bool(is_evidence and np.all(values[np.isfinite(values)] == 0))
