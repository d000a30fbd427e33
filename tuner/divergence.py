"""When a run is lost, as its epochs tell. The trainer ends most such runs earlier, at the batch."""

import math

from tuner.diagnosis.divergence import EXPLODED_TRAIN


def divergence(metric: float | None, loss: float, first_loss: float) -> str | None:
    """Why a run is lost, in a few words, or none while it is not.

    Args:
        metric: after this epoch; none where it was not validated.
        loss: of this epoch, all losses together.
        first_loss: the same of its first epoch.
    """
    if metric is not None and not math.isfinite(metric):
        return f"the metric is {metric}"
    if not math.isfinite(loss):
        return "a loss is not finite"
    if loss > EXPLODED_TRAIN * first_loss > 0:
        return f"the loss is {loss:.3g}, {loss / first_loss:.1f} times that of the first epoch"
    return None
