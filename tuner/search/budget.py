"""Track the time that a search has used against the limits that the user sets."""

import math
from collections.abc import Callable, Mapping

from tuner.decisions.stopping import Budget
from tuner.study import StudySession
from tuner.trials.live import LiveTrial

_NOTED_EVERY_S = 60.0
"""Interval between two records in seconds: at most this much wall time goes unrecorded if the driver is killed."""


class TimeBudget:
    """Wall time and training time of a search, summed over all its drivers."""

    def __init__(
        self, study: StudySession, live: Mapping[int, LiveTrial], bounds: Budget, *, gpus_per_trial: int
    ) -> None:
        """Continue where the study's last driver stopped.

        Args:
            study: Study that is searched.
            live: Running trials by number; the caller keeps them up to date.
            bounds: Limits that the user sets.
            gpus_per_trial: GPUs of each trial, or GPUs that it has a share of; 0 (CPU) counts as 1.
        """
        self._study = study
        self._live = live
        self._bounds = bounds
        self._gpus = max(gpus_per_trial, 1)
        self._searched_s = study.searched_s

    def pass_time(self, seconds: float) -> None:
        """Add wall time, and record the sum at intervals."""
        self._searched_s += seconds
        if self._searched_s - self._study.searched_s >= _NOTED_EVERY_S:
            self.note_time()

    def note_time(self) -> None:
        """Record the wall time of the search."""
        self._study.note_searched(self._searched_s)

    def reached(self, since_best: Callable[[], int]) -> str | None:
        """Return the limit that ends the search now, in words; None if no limit is reached.

        Args:
            since_best: Returns the number of trials judged since the best result; called only if it is limited.
        """
        return self._bounds.reached(searched_s=self._searched_s, trained_s=self._trained_s, since_best=since_best)

    def left_s(self) -> float | None:
        """Return the remaining wall time in seconds at the present pace of training; None without a time limit."""
        at_once = math.fsum(trial.gpu_share for trial in self._live.values()) * self._gpus or 1.0
        lefts = []
        if self._bounds.hours is not None:
            lefts.append(self._bounds.hours * 3600 - self._searched_s)
        if self._bounds.gpu_hours is not None:
            lefts.append((self._bounds.gpu_hours * 3600 - self._trained_s()) / at_once)
        return max(min(lefts), 0.0) if lefts else None

    def _trained_s(self) -> float:
        """Return the training time of all trials in GPU-seconds."""
        running = {number: trial.gpu_seconds for number, trial in dict(self._live).items()}
        each = (max(trial.facts.gpu_seconds, running.get(trial.number, 0.0)) for trial in self._study.trials())
        return math.fsum(each) * self._gpus
