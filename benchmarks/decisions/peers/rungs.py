"""Trials that are trained up to an epoch asked for, paused there, and asked for again."""

import math
from dataclasses import dataclass, field

from benchmarks.decisions.peers.history import History
from tuner.simulation.replay import Job


@dataclass(slots=True)
class Targets:
    """Who trains to which epoch. A row that is asked for again goes on where it was paused."""

    history: History = field(default_factory=History)
    _trial_by_row: dict[int, int] = field(default_factory=dict)
    _targets: dict[int, int] = field(default_factory=dict)
    """By running trial: the epoch to pause after."""

    def can_go_on(self, row: int, target: int) -> bool:
        """Whether a row has been paused before this epoch."""
        trial = self._trial_by_row.get(row)
        return trial is not None and trial not in self._targets and self.history.epochs[trial] < target

    def train(self, row: int, target: int) -> Job:
        """Train a row up to an epoch: a new one from its start, one that can go on from where it is."""
        if row not in self._trial_by_row:
            self._trial_by_row[row] = self.history.begin(row)
        trial = self._trial_by_row[row]
        self._targets[trial] = target
        return Job(trial, row)

    def hear(self, trial: int, epoch: int, metric: float) -> bool:
        """Note an epoch; whether it is the one that was asked for."""
        self.history.note(trial, epoch, metric)
        if epoch < self._targets[trial]:
            return False
        del self._targets[trial]
        return True

    def trial_of(self, row: int) -> int:
        return self._trial_by_row[row]


def epochs_of(fidelity: float) -> int:
    """A fidelity as a number of epochs: the libraries divide the longest run by powers of eta."""
    return max(math.floor(fidelity + 0.5), 1)
