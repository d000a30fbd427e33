"""What the trials of a search have shown so far, and the usual ways to name the best of them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class History:
    """By trial: its row, the epochs that it has trained, and the metric of the last one."""

    rows: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    """NaN before there is any."""

    def begin(self, row: int) -> int:
        """The number of a new trial."""
        self.rows.append(row)
        self.epochs.append(0)
        self.last.append(math.nan)
        return len(self.rows) - 1

    def note(self, trial: int, epoch: int, metric: float) -> None:
        self.epochs[trial] = epoch
        self.last[trial] = metric

    def best(self, trials: Iterable[int] | None = None) -> int | None:
        """The trial whose last value is the best, of those given or of all; none where no last value is finite."""
        finite = [t for t in (range(len(self.rows)) if trials is None else trials) if math.isfinite(self.last[t])]
        return max(finite, key=self.last.__getitem__, default=None)

    def best_at(self, epoch: int) -> int | None:
        """The best of those that have trained so many epochs."""
        return self.best(t for t, trained in enumerate(self.epochs) if trained >= epoch)

    def worst(self, default: float) -> float:
        """The worst of all last values that are finite: what a failed trial is told as."""
        return min((value for value in self.last if math.isfinite(value)), default=default)
