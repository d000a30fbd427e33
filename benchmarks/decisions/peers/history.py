"""Results of a search's trials so far, and the usual ways to choose the best trial."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class History:
    """Row, trained epochs and last metric of each trial."""

    rows: list[int] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    """Last metric of each trial; NaN before the first."""

    def begin(self, row: int) -> int:
        """Add a trial and return its number."""
        self.rows.append(row)
        self.epochs.append(0)
        self.last.append(math.nan)
        return len(self.rows) - 1

    def note(self, trial: int, epoch: int, metric: float) -> None:
        self.epochs[trial] = epoch
        self.last[trial] = metric

    def best(self, trials: Iterable[int] | None = None) -> int | None:
        """Return the trial with the best last value, of all or of those given; None if no value is finite."""
        finite = [t for t in (range(len(self.rows)) if trials is None else trials) if math.isfinite(self.last[t])]
        return max(finite, key=self.last.__getitem__, default=None)

    def best_at(self, epoch: int) -> int | None:
        """Return the best trial of those that have trained this many epochs."""
        return self.best(t for t, trained in enumerate(self.epochs) if trained >= epoch)

    def worst(self, default: float) -> float:
        """Return the worst finite last value, which is reported for a failed trial."""
        return min((value for value in self.last if math.isfinite(value)), default=default)
