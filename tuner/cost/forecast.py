"""How long a run will still take, told while it searches: by the simulated searches and the pace of this one.

How many trials have ended says little: most are paused early and end together with the search, and the few that go on
to the last epoch take most of the time. What counts is how many have got past each rung, and how many do so in
simulated searches of the same space. The clock says what an epoch takes here, with all that comes with it.
"""

import math
from dataclasses import dataclass
from statistics import fmean

from tuner.cost.estimate import Quotation


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far a search has come: epochs of its trials."""

    to_begin: int
    """Trials that have not begun."""
    training: tuple[int, ...]
    """Of those that train now, or go on as soon as there is room."""
    paused: tuple[int, ...]
    """Of those that wait to be called back."""
    ended: tuple[int, ...]

    @property
    def trained(self) -> int:
        """Epochs of all trials."""
        return sum(self.training) + sum(self.paused) + sum(self.ended)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What is to come of a run, by what was simulated before it."""

    quotation: Quotation
    slots: int
    epochs: int
    """Length of a trial."""
    promote_epochs: int
    """Length of the full run; 0 where there is none."""
    epoch_s: float | None = None
    """What an epoch takes, where that was found out before the search."""

    def pace_s(self, *, before: int, trained: int, elapsed_s: float, first_s: float = 0.0) -> float | None:
        """Wall time of one epoch of a trial, by this driver's clock; until that tells, what was found out earlier.

        Args:
            before: epochs that were trained when this driver began.
            trained: those by now.
            elapsed_s: since this driver began.
            first_s: of that, until its first epoch was about to end; start-up is no pace. 0 where nobody looked.
        """
        if trained - before < 2 * self.slots:  # start-up more than training
            return self.epoch_s
        passed = fmean(course.at(trained) - course.at(before) for course in self.quotation.courses) - bool(first_s)
        return (elapsed_s - first_s) / passed if passed > 0 else elapsed_s * self.slots / (trained - before)

    def search_epochs(self, now: Position) -> float:
        """What is left of the search: in epochs, as many at once as there are slots and trials for them."""
        left = self._left_to_train(now)
        courses = self.quotation.courses
        apart = fmean(course.ends[-1] - course.at(max(course.trained - left, 0.0)) for course in courses)
        return max(apart, left / self.slots, float(self._next_stop(now)))

    def comparison_s(self, pace_s: float) -> float:
        """The most that the runs on other seeds take; 0 where there are none."""
        return math.ceil(self.quotation.comparison_runs.high / self.slots) * self.epochs * pace_s

    def full_run_s(self, pace_s: float) -> float:
        """The full run at the pace of a trial; 0 where there is none."""
        return self.promote_epochs * pace_s

    def _left_to_train(self, now: Position) -> float:
        """Epochs of all trials together: from each rung to the next, those that are on their way and those to come."""
        begun = (*now.training, *now.paused, *now.ended)
        left, start, arriving, expected_before = 0.0, 0, float(now.to_begin), float(now.to_begin + len(begun))
        for stop, arrivals in self.quotation.arrivals.items():
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
        """What is sure to be trained, one epoch after the other."""
        stops = tuple(self.quotation.arrivals)
        to_a_stop = [min((stop for stop in stops if stop > epoch), default=epoch) - epoch for epoch in now.training]
        return max((now.to_begin * stops[0] // self.slots, *to_a_stop))
