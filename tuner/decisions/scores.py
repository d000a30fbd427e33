"""How good each trial will have turned out to be, on one scale, although most were never trained to their end."""

from itertools import pairwise

import numpy as np
from scipy.special import ndtri

from tuner.decisions.history import History
from tuner.decisions.rungs import Rungs
from tuner.unit_cube import Floats

_ENOUGH_FOR_SLOPE = 4
_SLOPES = (0.3, 2.0)


def scores(history: History, rungs: Rungs) -> Floats:
    """By trial: the normal score of its metric at the last epoch, as expected; NaN where nothing is known of it.

    A trial that was trained less is carried from rung to rung by what the others gained there, so that values of
    unlike budgets can be compared. Lost trials share the lowest score. Only the order counts in the end: metrics may
    be skewed as they like.
    """
    expected = expected_finals(history, rungs)
    known = ~np.isnan(expected)
    scored = np.full(len(history), np.nan)
    scored[known] = _normal_scores(expected[known])
    return scored


def expected_finals(history: History, rungs: Rungs) -> Floats:
    """By trial: its metric at the last epoch, or what that is expected to be; minus infinity for a lost trial."""
    values, reached = history.values, history.reached
    expected = history.last.copy()
    for rung, following in pairwise((*rungs.epochs, history.epochs)):
        start, end = values[:, rung - 1], values[:, following - 1]
        both = np.isfinite(start) & np.isfinite(end)
        short = (reached < following) & np.isfinite(expected)
        if not both.any() or not short.any():
            continue
        slope, intercept = _line(start[both], end[both])
        way = np.clip((reached[short] - rung) / (following - rung), 0.0, 1.0)  # in part it has been there already
        carried = slope * expected[short] + intercept
        expected[short] = (1.0 - way) * carried + way * expected[short]
    return expected


def _line(start: Floats, end: Floats) -> tuple[float, float]:
    """How metrics at one rung follow from those at the one before: a slope, kept from extremes, and an intercept."""
    slope = 1.0
    if len(start) >= _ENOUGH_FOR_SLOPE and (spread := float(start.var())) > 0:
        slope = float(np.clip(np.cov(start, end, bias=True)[0, 1] / spread, *_SLOPES))
    return slope, float(np.median(end - slope * start))


def _normal_scores(values: Floats) -> Floats:
    """Quantiles of the normal distribution in the order of the values; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = last - (counts + 1) / 2.0
    normal: Floats = ndtri((ranks + 0.5) / len(values))[inverse]
    return normal
