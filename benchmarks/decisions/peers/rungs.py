"""Trials that train to a requested epoch, pause there, and continue on request."""

import math
from dataclasses import dataclass, field

from benchmarks.decisions.peers.history import History
from tuner.simulation.replay import Job


@dataclass(slots=True)
class Targets:
    """Target epochs of the trials. A row that is requested again continues where it was paused."""

    history: History = field(default_factory=History)
    _trial_by_row: dict[int, int] = field(default_factory=dict)
    _targets: dict[int, int] = field(default_factory=dict)
    """Epoch to pause after, by running trial."""

    def can_go_on(self, row: int, target: int) -> bool:
        """Check whether a row is paused before this epoch."""
        trial = self._trial_by_row.get(row)
        return trial is not None and trial not in self._targets and self.history.epochs[trial] < target

    def train(self, row: int, target: int) -> Job:
        """Train a row up to an epoch: a new row from its start, a paused row from where it is."""
        if row not in self._trial_by_row:
            self._trial_by_row[row] = self.history.begin(row)
        trial = self._trial_by_row[row]
        self._targets[trial] = target
        return Job(trial, row)

    def report(self, trial: int, epoch: int, metric: float) -> bool:
        """Record an epoch; return True if it is the target epoch."""
        self.history.note(trial, epoch, metric)
        if epoch < self._targets[trial]:
            return False
        del self._targets[trial]
        return True

    def trial_of(self, row: int) -> int:
        return self._trial_by_row[row]


def epochs_of(fidelity: float) -> int:
    """Convert a fidelity to a number of epochs: the libraries divide the longest run by powers of eta."""
    return max(math.floor(fidelity + 0.5), 1)
