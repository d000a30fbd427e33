"""Detect from its epochs that a run has diverged. The trainer stops most of these runs earlier, after a batch."""

import math

EXPLODED = 1.5
"""Ratio of an epoch's training loss to that of the first epoch above which a run that has detected something has
diverged. No detector that learnt anything came near it (docs/decisions-benchmark.md)."""

EXPLODED_BLIND = 10.0
"""The same ratio for a run that has detected nothing yet. If its objects are a few pixels wide, a new detector assigns
hardly any boxes to its predictions at first. Its loss is then low, and rises several times while it begins to learn."""


def divergence(metric: float | None, loss: float, first_loss: float, *, has_detected: bool) -> str | None:
    """Return in a few words why a run has diverged; None if it has not.

    Args:
        metric: Metric after this epoch; None if the epoch was not validated.
        loss: Sum of the training losses of this epoch.
        first_loss: Sum of the training losses of the run's first epoch.
        has_detected: True if an earlier metric of the run was not 0.
    """
    if metric is not None and not math.isfinite(metric):
        return f"the metric is {metric}"
    if not math.isfinite(loss):
        return "a loss is not finite"
    if loss > exploded(has_detected or bool(metric)) * first_loss > 0:
        return f"the loss is {loss:.3g}, {loss / first_loss:.1f} times that of the first epoch"
    return None


def exploded(has_detected: bool) -> float:
    """Return the ratio to the first loss above which a run has diverged."""
    return EXPLODED if has_detected else EXPLODED_BLIND
