"""Decide when a silent trainer counts as hung; pure, because the caller supplies the clock."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

START_S = 7200.0
LEAST_S = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HangTimeouts:
    """Limits for the silence of a trainer, in seconds."""

    start_s: float = START_S
    """Limit before the first epoch's record: loading, caching, compiling and one epoch of unknown length."""
    least_s: float = LEAST_S
    """Minimum limit between two records, however short the epochs are."""
    factor: float = 5.0
    """Limit as a multiple of the epoch time of this trial or of the other trials, whichever is longer."""
    epoch_s: float = 0.0
    """Epoch time of the other trials, in seconds; 0 if there is none yet."""

    def bound_s(self, own_epochs_s: Sequence[float]) -> float:
        """Return the maximum accepted silence in seconds, given this trial's epoch times (empty before the first)."""
        if not own_epochs_s:
            return max(self.start_s, self.factor * self.epoch_s)
        return max(self.least_s, self.factor * max(self.epoch_s, statistics.median(own_epochs_s)))


class Watch:
    """Watchdog of one request. All times are from one monotonic clock, in seconds."""

    def __init__(self, hang_timeouts: HangTimeouts, now_s: float) -> None:
        self._hang_timeouts = hang_timeouts
        self._heard_s = now_s
        self._epochs_s: list[float] = []

    def heard(self, now_s: float, epoch_s: float | None = None) -> None:
        """Note the arrival of a record; pass the epoch's duration in seconds for the record of an epoch."""
        self._heard_s = now_s
        if epoch_s is not None:
            self._epochs_s.append(epoch_s)

    def complaint(self, now_s: float) -> str | None:
        """Return the problem if the silence is too long; otherwise None."""
        silence_s, bound_s = now_s - self._heard_s, self._hang_timeouts.bound_s(self._epochs_s)
        if silence_s <= bound_s:
            return None
        after = f"epoch {len(self._epochs_s)}" if self._epochs_s else "the start"
        return f"no sign of life for {silence_s:.0f} s after {after}; at most {bound_s:.0f} s is expected"
