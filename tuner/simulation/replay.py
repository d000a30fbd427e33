"""Replay a search over recorded curves: simulated workers, simulated time, real decisions."""

import heapq
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats


class Decision(StrEnum):
    """Decision about a run after an epoch."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Job:
    """Next work of a free worker."""

    trial: int
    """Number of the trial, 0-based; a paused trial resumes where it stopped."""
    row: int
    """Row of its configuration in the table."""


class Tuner(Protocol):
    """Search to replay: it decides what to train and what continues. Simulated time passes only between its calls."""

    def ask(self) -> Job | None:
        """Return the next job of a free worker; None to let it wait for the next epoch of a trial."""

    def report(self, trial: int, epoch: int, metric: float, loss: float, seconds: float) -> Decision:
        """Report one epoch (1-based) of a running trial; after the last epoch, the trial ends in any case."""

    def incumbent(self) -> int | None:
        """Return the trial that would be chosen for the final run now; None if there is none yet."""


class Pool:
    """Rows of a table that no trial has taken yet."""

    def __init__(self, table: CurveTable) -> None:
        self._points = table.points
        self._free = np.ones(len(table.points), bool)

    @property
    def empty(self) -> bool:
        return not self._free.any()

    def nearest(self, point: Floats) -> int:
        """Return the free row with the smallest Euclidean distance to a point of the unit cube."""
        distances = np.where(self._free, ((self._points - point) ** 2).sum(axis=1), np.inf)
        return int(np.argmin(distances))

    def take(self, row: int) -> None:
        """Mark a row as taken by a trial."""
        self._free[row] = False


@dataclass(kw_only=True, slots=True)
class Outcome:
    """Result of a replayed search."""

    incumbents: dict[int, int | None] = field(default_factory=dict)
    """Row that would be chosen for the final run, by percent of the budget; None if there is none."""
    rows: list[int] = field(default_factory=list)
    """Row of each trial's configuration."""
    epochs: list[int] = field(default_factory=list)
    """Epochs trained by each trial."""
    dead_epochs: int = 0
    busy_s: float = 0.0
    """Worker time spent training, in simulated seconds."""
    ended_s: float = 0.0
    """End of the last epoch, in simulated seconds."""
    epoch_ends_s: list[float] = field(default_factory=list)
    """Ends of all epochs of all trials, in simulated seconds, in order."""
    idle_s: float = 0.0
    decisions_s: list[float] = field(default_factory=list)
    """Real seconds that each free worker waited for the decision on its last epoch and for its next job."""
    log: list[str] = field(default_factory=list)
    """All decisions, in order."""


def replay(
    table: CurveTable,
    tuner: Tuner,
    *,
    workers: int,
    budget: float,
    checkpoints: tuple[int, ...] = (10, 25, 50, 100),
) -> Outcome:
    """Let a tuner search a table until its budget is spent.

    Args:
        table: Recorded learning curves.
        tuner: Search to replay.
        workers: Number of simulated workers.
        budget: Worker time, in full runs of average cost. All workers share it equally, so the search ends after
            `budget / workers` full runs of simulated time.
        checkpoints: Percents of the budget at which to record the incumbent.
    """
    return _Replay(table, tuner, workers, budget * table.full_run_s / workers, checkpoints).run()


class _Replay:
    def __init__(
        self, table: CurveTable, tuner: Tuner, workers: int, end_s: float, checkpoints: tuple[int, ...]
    ) -> None:
        self._table = table
        self._tuner = tuner
        self._end_s = end_s
        self._checkpoints = list(checkpoints)
        self._outcome = Outcome()
        self._now_s = 0.0
        self._idle = workers
        self._workers = workers
        self._events: list[tuple[float, int, int]] = []
        """(end of the epoch in simulated seconds, order of arrival, trial)"""
        self._arrivals = 0
        self._verdict_s = 0.0

    def run(self) -> Outcome:
        self._occupy()
        while self._events and self._events[0][0] <= self._end_s + 1e-9:
            when_s, _, trial = heapq.heappop(self._events)
            self._advance(when_s)
            self._outcome.ended_s = when_s
            self._outcome.epoch_ends_s.append(when_s)
            self._end_epoch(trial)
            self._occupy()
        if self._events:  # otherwise, nothing is left to train
            self._advance(self._end_s)
        for percent in self._checkpoints:
            self._note_incumbent(percent)
        return self._outcome

    def _advance(self, to_s: float) -> None:
        while self._checkpoints and self._checkpoints[0] / 100 * self._end_s < to_s - 1e-9 * self._end_s:
            self._note_incumbent(self._checkpoints.pop(0))  # epochs that end exactly now are already reported
        passed_s = to_s - self._now_s
        self._outcome.idle_s += self._idle * passed_s
        self._outcome.busy_s += (self._workers - self._idle) * passed_s
        self._now_s = to_s

    def _note_incumbent(self, percent: int) -> None:
        trial = self._tuner.incumbent()
        self._outcome.incumbents[percent] = None if trial is None else self._outcome.rows[trial]

    def _occupy(self) -> None:
        while self._idle:
            began = time.perf_counter()
            job = self._tuner.ask()
            self._outcome.decisions_s.append(time.perf_counter() - began + self._verdict_s)
            self._verdict_s = 0.0
            if job is None:
                return
            self._idle -= 1
            self._begin(job)

    def _begin(self, job: Job) -> None:
        outcome = self._outcome
        if job.trial == len(outcome.rows):
            outcome.rows.append(job.row)
            outcome.epochs.append(0)
            outcome.log.append(f"start {job.trial} row {job.row}")
        else:
            outcome.log.append(f"resume {job.trial} after epoch {outcome.epochs[job.trial]}")
        self._train(job.trial)

    def _train(self, trial: int) -> None:
        row, epoch = self._outcome.rows[trial], self._outcome.epochs[trial]
        self._arrivals += 1
        heapq.heappush(self._events, (self._now_s + self._table.seconds[row, epoch], self._arrivals, trial))

    def _end_epoch(self, trial: int) -> None:
        table, outcome = self._table, self._outcome
        row = outcome.rows[trial]
        outcome.epochs[trial] += 1
        epoch = outcome.epochs[trial]
        outcome.dead_epochs += epoch >= table.dead_from[row]
        began = time.perf_counter()
        decision = self._tuner.report(
            trial,
            epoch,
            float(table.metric[row, epoch - 1]),
            float(table.loss[row, epoch - 1]),
            float(table.seconds[row, epoch - 1]),
        )
        self._verdict_s = time.perf_counter() - began
        if epoch == table.epochs:
            outcome.log.append(f"complete {trial}")
        elif decision != Decision.CONTINUE:
            outcome.log.append(f"{decision} {trial} after epoch {epoch}")
        if epoch < table.epochs and decision == Decision.CONTINUE:
            self._train(trial)
        else:
            self._idle += 1
