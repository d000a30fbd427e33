"""Tell from its epochs whether a run has diverged. The trainer ends most such runs earlier, at the batch."""

import math

EXPLODED = 1.5
"""A run whose training loss is above this many times that of its first epoch has diverged. Of the detectors that learnt
anything, none came near (docs/decisions-benchmark.md)."""


def divergence(metric: float | None, loss: float, first_loss: float) -> str | None:
    """Say in a few words why a run has diverged; None if it has not.

    Args:
        metric: after this epoch; None if the epoch was not validated.
        loss: of this epoch, all training losses together.
        first_loss: the same of the run's first epoch.
    """
    if metric is not None and not math.isfinite(metric):
        return f"the metric is {metric}"
    if not math.isfinite(loss):
        return "a loss is not finite"
    if loss > EXPLODED * first_loss > 0:
        return f"the loss is {loss:.3g}, {loss / first_loss:.1f} times that of the first epoch"
    return None
