"""Detect diverged runs: the loss is NaN or infinite, or has exploded."""

import math
from statistics import median

EXPLOSION_FACTOR = 100.0
"""Multiple of the loss at the start from which no run that we have seen recovered."""

_REFERENCE_BATCHES = 10


class LossWatch:
    """Watch the training loss per image, batch by batch.

    The reference is the median of the first ten losses. A single batch of images without objects has a loss near zero,
    so with a minimum the next normal batch would count as an explosion.
    """

    def __init__(self) -> None:
        self._first: list[float] = []

    def verdict(self, loss: float) -> str | None:
        """Return why the run has diverged, in a few words, or None if it has not. `loss` is per image."""
        if not math.isfinite(loss):
            return f"the loss became {'NaN' if math.isnan(loss) else 'infinite'}"
        if len(self._first) < _REFERENCE_BATCHES:
            self._first.append(loss)
            return None
        reference = median(self._first)
        if loss > EXPLOSION_FACTOR * reference:
            return f"the loss exploded to {loss:.3g}, {loss / reference:.0f} times the loss at the start"
        return None
