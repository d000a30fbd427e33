"""When a run is lost: the loss is no number any more, or has exploded."""

import math
from statistics import median

EXPLOSION_FACTOR = 100.0
"""A loss this many times the loss at the start never came back in any run that we have seen."""

_REFERENCE_BATCHES = 10


class LossWatch:
    """Follows the training loss per image, batch by batch.

    The reference is the median of the first ten losses seen: a single batch of images without objects has a
    loss near zero, so a minimum would call the next normal batch an explosion.
    """

    def __init__(self) -> None:
        self._first: list[float] = []

    def verdict(self, loss: float) -> str | None:
        """Why the run is lost, in a few words, or none while it is not. `loss` is per image."""
        if not math.isfinite(loss):
            return f"the loss became {'NaN' if math.isnan(loss) else 'infinite'}"
        if len(self._first) < _REFERENCE_BATCHES:
            self._first.append(loss)
            return None
        reference = median(self._first)
        if loss > EXPLOSION_FACTOR * reference:
            return f"the loss exploded to {loss:.3g}, {loss / reference:.0f} times the loss at the start"
        return None
