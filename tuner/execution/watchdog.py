"""How long a trainer may be silent before it counts as hung. Pure: whoever watches brings the clock."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

START_S = 7200.0
LEAST_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """Bounds on silence, in seconds."""

    start_s: float = START_S
    """Up to the first epoch's record: loading, caching, compiling, and one epoch of a length that nobody knows yet."""
    least_s: float = LEAST_S
    """Between two records at least, however short the epochs are."""
    factor: float = 5.0
    """So many times an epoch of this or the other trials, whichever is longer."""
    epoch_s: float = 0.0
    """What an epoch of the other trials takes; 0 when none has been trained yet."""

    def bound_s(self, own_epochs_s: Sequence[float]) -> float:
        """The longest silence that is still believed in, after epochs that took so long (none: before the first)."""
        if not own_epochs_s:
            return max(self.start_s, self.factor * self.epoch_s)
        return max(self.least_s, self.factor * max(self.epoch_s, statistics.median(own_epochs_s)))


class Watch:
    """Watches one request. Times are of one monotonic clock."""

    def __init__(self, patience: Patience, now_s: float) -> None:
        self._patience = patience
        self._heard_s = now_s
        self._epochs_s: list[float] = []

    def heard(self, now_s: float, epoch_s: float | None = None) -> None:
        """A record came; that of an epoch says how long it took."""
        self._heard_s = now_s
        if epoch_s is not None:
            self._epochs_s.append(epoch_s)

    def complaint(self, now_s: float) -> str | None:
        """What is wrong, when the silence is too long."""
        silence_s, bound_s = now_s - self._heard_s, self._patience.bound_s(self._epochs_s)
        if silence_s <= bound_s:
            return None
        after = f"epoch {len(self._epochs_s)}" if self._epochs_s else "the start"
        return f"no sign of life for {silence_s:.0f} s after {after}, where {bound_s:.0f} s is the most expected"
