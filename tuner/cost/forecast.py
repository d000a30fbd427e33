"""Forecast the remaining time of a run during the search, from simulated searches and the pace of this one.

The number of ended trials says little: most trials are paused early and end together with the search. The few that
continue to the last epoch take most of the time. So the forecast counts how many trials have passed each rung, here and
in simulated searches of the same space. The clock shows the real time of an epoch, including all overhead.
"""

import math
from dataclasses import dataclass
from statistics import fmean

from tuner.cost.estimate import CostEstimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Progress of a search, in epochs of its trials."""

    to_begin: int
    """Number of trials that have not started."""
    training: tuple[int, ...]
    """Epochs of the trials that train now, or resume as soon as a slot is free."""
    paused: tuple[int, ...]
    """Epochs of the paused trials."""
    ended: tuple[int, ...]
    """Epochs of the ended trials."""

    @property
    def trained(self) -> int:
        """Total epochs of all trials."""
        return sum(self.training) + sum(self.paused) + sum(self.ended)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Forecast of the remaining time of a run, based on the searches simulated before it."""

    estimate: CostEstimate
    slots: int
    epochs: int
    """Length of a trial, in epochs."""
    promote_epochs: int
    """Length of the final run, in epochs; 0 if there is none."""
    epoch_s: float | None = None
    """Time of an epoch in seconds, if it was measured before the search."""

    def pace_s(self, *, before: int, trained: int, elapsed_s: float, first_s: float = 0.0) -> float | None:
        """Return the wall time of one epoch of a trial in seconds; at first `epoch_s`, later by this driver's clock.

        Args:
            before: Total epochs when this driver started.
            trained: Total epochs now.
            elapsed_s: Time since this driver started.
            first_s: Part of this time until its first epoch was about to end; it excludes the start-up from the pace.
                0 if not measured.
        """
        if trained - before < 2 * self.slots:  # so far more start-up than training
            return self.epoch_s
        passed = fmean(course.at(trained) - course.at(before) for course in self.estimate.courses) - bool(first_s)
        return (elapsed_s - first_s) / passed if passed > 0 else elapsed_s * self.slots / (trained - before)

    def search_epochs(self, now: Position) -> float:
        """Return the remaining wall time of the search in epochs; slots and trials limit how many run in parallel."""
        left = self.epochs_left(now)
        courses = self.estimate.courses
        apart = fmean(course.ends[-1] - course.at(max(course.trained - left, 0.0)) for course in courses)
        return max(apart, left / self.slots, float(self._next_stop(now)))

    def comparison_s(self, pace_s: float) -> float:
        """Return the maximum time of the re-evaluation runs in seconds; 0 if there are none."""
        return math.ceil(self.estimate.comparison_runs.high / self.slots) * self.epochs * pace_s

    def full_run_s(self, pace_s: float) -> float:
        """Return the time of the final run at the pace of a trial, in seconds; 0 if there is none."""
        return self.promote_epochs * pace_s

    def epochs_left(self, now: Position) -> float:
        """Return the remaining epochs of all trials, on their way or still to come, summed rung by rung."""
        begun = (*now.training, *now.paused, *now.ended)
        left, start, arriving, expected_before = 0.0, 0, float(now.to_begin), float(now.to_begin + len(begun))
        for stop, arrivals in self.estimate.arrivals.items():
            expected = (arrivals.low + arrivals.high) / 2
            on_the_way = [epoch for epoch in now.training if start <= epoch < stop]
            waiting = sum(epoch == start for epoch in now.paused)
            there = sum(epoch >= stop for epoch in begun)
            share = min(expected / expected_before, 1.0) if expected_before else 0.0
            most = len(on_the_way) + waiting + arriving * (share if start else 1.0)
            arriving = min(max(expected - there, float(len(on_the_way))), most)
            left += arriving * (stop - start) - sum(epoch - start for epoch in on_the_way)
            start, expected_before = stop, expected
        return left

    def _next_stop(self, now: Position) -> int:
        """Return the number of epochs that must be trained one after the other in any case."""
        stops = tuple(self.estimate.arrivals)
        to_a_stop = [min((stop for stop in stops if stop > epoch), default=epoch) - epoch for epoch in now.training]
        return max((now.to_begin * stops[0] // self.slots, *to_a_stop))
