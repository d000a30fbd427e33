"""Score all trials on one scale, although most were never trained to the last epoch."""

from itertools import pairwise

import numpy as np
from scipy.special import ndtri

from tuner.decisions.history import History
from tuner.decisions.rungs import Rungs
from tuner.unit_cube import Floats

_ENOUGH_FOR_SLOPE = 4
_SLOPES = (0.3, 2.0)


def scores(history: History, rungs: Rungs) -> Floats:
    """Return the normal score of each trial's expected metric at the last epoch; NaN if nothing is known about it.

    The metric of a trial that was trained less is extrapolated from rung to rung by the gains of the others, so metrics
    of different budgets are comparable. Lost trials share the lowest score. Only the order counts, so the distribution
    of the metric does not matter.
    """
    expected = expected_finals(history, rungs)
    known = ~np.isnan(expected)
    scored = np.full(len(history), np.nan)
    scored[known] = _normal_scores(expected[known])
    return scored


def expected_finals(history: History, rungs: Rungs) -> Floats:
    """Return the final metric of each trial, measured or expected; minus infinity for a lost trial."""
    values, reached = history.values, history.reached
    expected = history.last.copy()
    for rung, following in pairwise((*rungs.epochs, history.epochs)):
        start, end = values[:, rung - 1], values[:, following - 1]
        both = np.isfinite(start) & np.isfinite(end)
        short = (reached < following) & np.isfinite(expected)
        if not both.any() or not short.any():
            continue
        slope, intercept = _line(start[both], end[both])
        way = np.clip((reached[short] - rung) / (following - rung), 0.0, 1.0)  # the share that is already trained
        carried = slope * expected[short] + intercept
        expected[short] = (1.0 - way) * carried + way * expected[short]
    return expected


def _line(start: Floats, end: Floats) -> tuple[float, float]:
    """Fit the metrics at one rung to those at the previous one; return slope, clipped, and intercept."""
    slope = 1.0
    if len(start) >= _ENOUGH_FOR_SLOPE and (spread := float(start.var())) > 0:
        slope = float(np.clip(np.cov(start, end, bias=True)[0, 1] / spread, *_SLOPES))
    return slope, float(np.median(end - slope * start))


def _normal_scores(values: Floats) -> Floats:
    """Return normal quantiles in the order of the values; equal values get the quantile of their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = last - (counts + 1) / 2.0
    normal: Floats = ndtri((ranks + 0.5) / len(values))[inverse]
    return normal
