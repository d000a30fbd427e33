"""Replay the decisions of an undisturbed search that gets the same values in the same order."""

import math
from collections.abc import Mapping

import numpy as np

from tuner.decisions.history import History
from tuner.decisions.rungs import Rungs
from tuner.decisions.strategies import Asha, Stop

RUNGS, EPOCHS, REDUCTION_FACTOR = (3,), 9, 3


def decisions(arrived: Mapping[tuple[int, int], float], trials: int) -> dict[int, str]:
    """Return the state of each trial: PRUNED if a value stops it, COMPLETE if it reached the last epoch, else empty.

    Args:
        arrived: Metric by (trial, epoch), in the order of arrival.
        trials: Number of trials.
    """
    rule = Asha(rungs=Rungs(epochs=RUNGS, reduction_factor=REDUCTION_FACTOR))
    history = History(epochs=EPOCHS, dimensions=1)
    states = {history.begin(np.array([0.5])): "" for _ in range(trials)}
    for (number, epoch), value in arrived.items():
        assert states[number] != "PRUNED", f"trial {number} was stopped but continued"
        if not math.isfinite(value):  # diverged: it takes part in no comparison
            states[number] = "PRUNED"
            continue
        history.report(number, epoch, value)
        if isinstance(rule.verdict(history, number, epoch), Stop):
            states[number] = "PRUNED"
        elif epoch == EPOCHS:
            states[number] = "COMPLETE"
    return states
