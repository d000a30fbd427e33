"""When a search ends before its last trial: its budget is used up, nothing better comes, or nothing can be learnt.

Pure functions. Time is an argument: whoever drives the search measures it, and the study keeps the sum.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs
from tuner.exceptions import UsageError

DEAD_AFTER = 10
"""As many equal results are no coincidence, in the middle of a search. At its end fewer must do (`tuner.search`)."""

_BEYOND_FIRST_RUNG = 3
"""So many of them must have reached the second rung at least: at the first one every mAP may be 0, and all be well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a user allows a search; none for no bound.

    Raises:
        UsageError: a bound is no number above 0.
    """

    hours: float | None = None
    """Wall time of searching, over all runs of the study."""
    gpu_hours: float | None = None
    """Time that trials trained, times the GPUs of each; a slot on the CPU counts as one GPU."""
    no_improvement: int | None = None
    """Trials without a better result."""

    def __post_init__(self) -> None:
        for option, bound in (("--max-hours", self.hours), ("--gpu-hours", self.gpu_hours)):
            if bound is not None and not 0 < bound < math.inf:
                raise UsageError(f"{option} must be a number above 0, but got {bound:g}; leave it out for no bound.")
        if self.no_improvement is not None and self.no_improvement < 1:
            raise UsageError(
                f"--no-improvement must be at least 1, but got {self.no_improvement}; leave it out to try all trials."
            )

    def reached(self, *, searched_s: float, trained_s: float, since_best: int) -> str | None:
        """The bound that ends the search now, in a few words, or none.

        Args:
            searched_s: see `hours`.
            trained_s: see `gpu_hours`.
            since_best: see `since_best`.
        """
        if self.hours is not None and searched_s >= self.hours * 3600:
            return f"--max-hours {self.hours:g} is used up"
        if self.gpu_hours is not None and trained_s >= self.gpu_hours * 3600:
            return f"--gpu-hours {self.gpu_hours:g} is used up"
        if self.no_improvement is not None and since_best >= self.no_improvement:
            return f"--no-improvement {self.no_improvement} is used up: {since_best} trials have brought nothing better"
        return None


def judged(history: History) -> int:
    """Trials that ended or wait to be called back; those that failed tell nothing of their configuration."""
    return int(np.isin(history.status, (Status.PAUSED, Status.COMPLETE, Status.STOPPED, Status.LOST)).sum())


def since_best(complete: Iterable[tuple[float, int]], judged_now: int) -> int:
    """How many trials have been judged since the best result came; 0 before there is any. An equal one is no better.

    Args:
        complete: of each COMPLETE trial, its metric and how many trials were judged by then, itself included.
    """
    results = list(complete)
    best = max((value for value, _ in results), default=None)
    then = min((number for value, number in results if value == best), default=judged_now)
    return max(judged_now - then, 0)


def only_zeros(history: History, rungs: Rungs) -> bool:
    """Whether a search has heard nothing but 0, at a rung or at the end, often enough to learn nothing by going on.

    It takes `DEAD_AFTER` results, one of them of a full run and some from beyond the first rung. Zeros beside other
    values are no sign: in a wide space most configurations may end with 0.
    """
    if not np.any(history.status == Status.COMPLETE):
        return False
    values = history.values
    results = history.reached[np.isin(history.status, (Status.PAUSED, Status.COMPLETE, Status.STOPPED))]
    second_rung = rungs.after(min(rungs.epochs, default=0), history.epochs)
    is_evidence = np.sum(results > 0) >= DEAD_AFTER and np.sum(results >= second_rung) >= _BEYOND_FIRST_RUNG
    return bool(is_evidence and np.all(values[np.isfinite(values)] == 0))
