"""Detect diverged runs: the loss is NaN or infinite, or has exploded."""

import math
from statistics import median

EXPLOSION_FACTOR = 100.0
"""Multiple of the loss at the start from which no run that we have seen recovered."""

LEAST_SCALE = 2.0**-10
"""Scale of the gradients below which a run is lost. It starts at 2**16, and halves when a step overflows."""

_REFERENCE_BATCHES = 10

_MOST_OVERFLOWS = 5
"""Losses in a row that are not finite, after which the weights are to blame and not a batch."""


class LossWatch:
    """Watch the training loss per image, batch by batch.

    The reference is the median of the first ten losses. A single batch of images without objects has a loss near zero,
    so with a minimum the next normal batch would count as an explosion.
    """

    def __init__(self) -> None:
        self._first: list[float] = []
        self.overflows = 0
        """Number of the last losses in a row that were not finite."""

    def verdict(self, loss: float, *, skips_overflows: bool = False) -> str | None:
        """Return why the run has diverged, in a few words, or None if it has not.

        Args:
            loss: loss per image.
            skips_overflows: True if a scaler of half-precision gradients skips the step of a batch whose loss is not
                finite, so that the weights stay as they are.
        """
        if not math.isfinite(loss):
            self.overflows += 1
            if skips_overflows and self.overflows < _MOST_OVERFLOWS:
                return None
            times = f" in {self.overflows} batches in a row" if self.overflows > 1 else ""
            return f"the loss became {'NaN' if math.isnan(loss) else 'infinite'}{times}"
        self.overflows = 0
        if len(self._first) < _REFERENCE_BATCHES:
            self._first.append(loss)
            return None
        reference = median(self._first)
        if loss > EXPLOSION_FACTOR * reference:
            return f"the loss exploded to {loss:.3g}, {loss / reference:.0f} times the loss at the start"
        return None
