"""Estimate the probability that a run is lost from the runs so far: a logistic regression over the cube.

Runs are lost in whole regions, mostly beyond a limit of one or two parameters such as the learning rate. So the
log-odds are the sum of a parabola in each feature. A prior, equally strong for each feature, keeps the parabolas flat
until the runs say otherwise. Source: Bishop, Pattern Recognition and Machine Learning, 2006, sections 4.3.2, 4.3.3 and
4.5 (maximum a posteriori, by Newton's method).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tuner.unit_cube import Floats

_PRIOR_LOG_ODDS = -2.0
"""Log-odds of a lost run before any is known: 12 %."""
_PRECISION_OF_LEVEL = 0.1
_PRECISION_OF_SLOPES = 1.0
"""Inverse prior variance of the log-odds at the centre of the cube, and of the weights of each parabola."""
_MOST_STEPS = 12
"""Newton's method takes four to eight."""
_LEAST_STEP = 1e-3


def risk(features: Floats, known: Floats, lost: NDArray[np.bool_]) -> Floats:
    """Return the probability that a run at new features is lost.

    Args:
        features: New features in 0..1, shape (new, features).
        known: Features of runs that were lost or have a metric, shape (known, features).
        lost: True for the lost runs, shape (known,).
    """
    terms = _terms(known)
    precision = np.full(terms.shape[1], _PRECISION_OF_SLOPES)
    precision[0] = _PRECISION_OF_LEVEL
    prior = np.zeros(terms.shape[1])
    prior[0] = _PRIOR_LOG_ODDS
    weights = prior
    for _ in range(_MOST_STEPS):
        likely = expit(terms @ weights)
        gradient = terms.T @ (lost - likely) - precision * (weights - prior)
        curvature = (terms * (likely * (1.0 - likely))[:, None]).T @ terms + np.diag(precision)
        step = np.linalg.solve(curvature, gradient)
        weights = weights + step
        if np.abs(step).max() < _LEAST_STEP:
            break
    probability: Floats = expit(_terms(features) @ weights)
    return probability


def _terms(features: Floats) -> Floats:
    """Return a constant, and for each feature two terms that are uncorrelated for uniformly random points."""
    centred = 2.0 * features - 1.0
    return np.concatenate([np.ones((len(features), 1)), centred, centred**2 - 1.0 / 3.0], axis=1)
