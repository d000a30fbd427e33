"""Expect the final result of every trial, although most were never trained to the last epoch.

What a rung says about the end differs from task to task: on some, the order at the first rung is nearly the final one,
on others it is noise. So a regression from rung to rung learns it from the trials that went further. Two signs at a
rung say how a trial will end:

- Its metric, compared with that of the others.
- How far its training loss has fallen since the first epoch. Detectors need this: their metric stays near 0 for the
  first epochs, and its order there is noise, or even reversed, while the loss already falls.

Before anything is learnt, the metric counts as much as it can be trusted (`_trust`), and the loss for the rest. Where
no loss is known, the metric counts alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs, arrivals
from tuner.unit_cube import Floats

Trials = NDArray[np.int64]
"""Numbers of trials."""

_METRIC = 0.8
"""Correlation of the metric at a rung with the final one that is assumed if the metric can be trusted."""
_LOSS = 0.6
"""Correlation of the fall of the loss with the final metric that is assumed if the metric cannot be trusted."""
_PRIOR_PAIRS = 40.0
"""Number of trials that these assumptions weigh as much as. With few, the order at a rung changes with each trial that
goes further, and trials continue that soon fall behind again."""
_UNKNOWN_TRUST = 0.3
"""Trust in the metric at a rung before a trial has gone further. It hardly matters where early metrics rank well. Where
they mislead, low trust saves the first promotions."""
_LEAST_SPREAD = 0.25
"""Minimum standard deviation, in normal scores, that is divided by."""
_UNEXPLAINED = (0.02, 1.0)
"""Limits of the share of the variance that a rung leaves unexplained."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """Expected final results in normal scores of the final metrics, higher is better."""

    mean: Floats
    """By trial; NaN if it has not reached a rung, minus infinity if it was lost."""
    variance: Floats
    """Variance of the expectation, by trial; 0 for a trial that is complete or lost."""
    at_rung: Mapping[int, tuple[Trials, Floats]]
    """Trials that have arrived at each rung, and the final result that was to be expected there; minus infinity for
    those that were lost on the way to it."""


def expectations(history: History, rungs: Rungs) -> Expectations:
    """Return the expected final results of all trials."""
    known = history.derived(rungs, lambda: _expectations(history, rungs))
    begun = len(history) - len(known.mean)
    if not begun:
        return known
    mean, variance = np.append(known.mean, np.full(begun, np.nan)), np.append(known.variance, np.zeros(begun))
    return Expectations(mean, variance, known.at_rung)


def normal_scores(values: Floats) -> Floats:
    """Return normal quantiles in the order of the values; equal values get the quantile of their mean rank."""
    order = np.argsort(values)
    ascending = values[order]
    is_first = np.ones(len(values), bool)
    is_first[1:] = ascending[1:] != ascending[:-1]
    first = np.flatnonzero(is_first)
    counts = np.diff(first, append=len(values))
    normal: Floats = np.empty(len(values))
    normal[order] = np.repeat(ndtri((first + counts / 2.0) / len(values)), counts)
    return normal


def _expectations(history: History, rungs: Rungs) -> Expectations:
    mean, variance = np.full(len(history), np.nan), np.zeros(len(history))
    at_rung: dict[int, tuple[Trials, Floats]] = {}
    final = history.values[:, -1]
    complete = np.flatnonzero(np.isfinite(final))
    mean[complete] = normal_scores(final[complete])
    for rung in reversed(rungs.epochs):
        arrived, values = arrivals(history, rungs, rung)
        if not len(arrived):
            continue
        lost = ~np.isfinite(values)
        falls = _falls(history, arrived, rung, lost)
        signs = np.stack([normal_scores(values), falls], axis=1)
        further = np.isfinite(mean[arrived])
        trust = _trust(history, rungs, rung) if falls.any() else 1.0
        expected, unexplained = _regression(signs, mean[arrived], further, trust)
        new = ~further & ~lost
        mean[arrived[new]] = expected[new]
        later = float(variance[arrived[further]].mean()) if further.any() else 0.0
        variance[arrived[new]] = unexplained + later
        at_rung[rung] = arrived, np.where(lost, -np.inf, expected)
    mean[history.status == Status.LOST], variance[history.status == Status.LOST] = -np.inf, 0.0
    return Expectations(mean, variance, at_rung)


def _falls(history: History, trials: Trials, rung: int, lost: NDArray[np.bool_]) -> Floats:
    """Return normal scores of how far the loss has fallen since the first epoch; zeros if no loss is known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.log(history.losses[trials, 0] / history.losses[trials, rung - 1])
    fall = np.where(lost | ~np.isfinite(fall), -np.inf, fall)
    return normal_scores(fall) if np.isfinite(fall).any() else np.zeros(len(trials))


def _trust(history: History, rungs: Rungs, rung: int) -> float:
    """Return how far the metric at a rung can be trusted, 0..1: its best value as a share of the best one later.

    The mAP of a detector begins at 0. As long as all trials are far below what they reach later, those that begin to
    learn early are ahead, and they need not end ahead.

    Returns:
        The share; `_UNKNOWN_TRUST` while no later metric is known or above 0, and 1 for a metric that can be
        negative, because its zero means nothing.
    """
    compared = [epoch for epoch in (*rungs.epochs, history.epochs) if epoch >= rung]
    values = history.values[:, [epoch - 1 for epoch in compared]]
    if np.fmin.reduce(values, axis=None) < 0.0:
        return 1.0
    best, *later = np.fmax.reduce(values, axis=0)
    highest = np.fmax.reduce(later)
    return min(float(best / highest), 1.0) if highest > 0.0 else _UNKNOWN_TRUST


def _regression(signs: Floats, results: Floats, further: NDArray[np.bool_], trust: float) -> tuple[Floats, float]:
    """Predict the results of all trials at a rung from those that went further.

    Args:
        signs: Normal scores of the metric and of the fall of the loss, shape (trials, 2).
        results: Expected final results, shape (trials,).
        further: True for the trials that went further, whose results count.
        trust: Trust in the metric, 0..1.

    Returns:
        The predictions, and the variance that they leave unexplained.
    """
    prior = np.array([_METRIC * trust, _LOSS * (1.0 - trust)])
    number = int(further.sum())
    known, target = signs[further], results[further]
    centre = known.mean(axis=0) if number else signs.mean(axis=0)
    middle = float(target.mean()) if number else 0.0
    spread = np.maximum(known.std(axis=0), _LEAST_SPREAD) if number > 1 else np.ones(2)
    height = max(float(target.std()), _LEAST_SPREAD) if number > 1 else 1.0
    x, y = (known - centre) / spread, (target - middle) / height
    weights = np.linalg.solve(x.T @ x + _PRIOR_PAIRS * np.eye(2), x.T @ y + _PRIOR_PAIRS * prior)
    prior_rest = 1.0 - 0.9 * prior.sum() ** 2
    rest = (float(((y - x @ weights) ** 2).sum()) + _PRIOR_PAIRS * prior_rest) / (number + _PRIOR_PAIRS)
    predicted: Floats = middle + height * (((signs - centre) / spread) @ weights)
    return predicted, height**2 * float(np.clip(rest, *_UNEXPLAINED))
