"""What the trials so far say of configurations that nobody has tried: a Gaussian process over the cube.

Small on purpose. The kernel's scale is fixed and short, so the model says much near what was tried and nothing far
from it; fitting scales to the few noisy results of an early search was slower and, on curves that it was not tuned
on, no better (docs/decisions-benchmark.md). Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
algorithm 2.1; Matérn kernel of smoothness 5/2.
"""

from contextlib import AbstractContextManager
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from tuner.unit_cube import Floats

SCALE = 0.18
"""Length scale for the square root of the number of dimensions: random points lie about 0.4 of that apart."""
RISK_SCALE = 0.27
"""The same for what is lost and what is not, which hangs on whole regions."""
_RISK_PRIOR = 0.025
"""So much weight says that nothing is lost."""
NOISE = 0.1
"""Variance of what is observed, about one of what is modelled: scores of variance 1."""


class Surrogate:
    """Scores (variance about 1, higher is better) as a function of the features of configurations."""

    def __init__(self, features: Floats, scores: Floats, *, dimensions: int) -> None:
        """Condition on what is known.

        Args:
            features: (known, features).
            scores: (known,).
            dimensions: of the cube, before choices were spread over several features.
        """
        self._scale = SCALE * np.sqrt(dimensions)
        self._features = features / self._scale
        self._mean = float(scores.mean())
        covariance = _matern(self._features, self._features)
        covariance[np.diag_indices_from(covariance)] += NOISE
        self._factor = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._factor, True), scores - self._mean, check_finite=False)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the scores at new features (new, features)."""
        across = _matern(features / self._scale, self._features)
        explained = solve_triangular(self._factor, across.T, lower=True, check_finite=False)
        variance = 1.0 - np.einsum("ij,ij->j", explained, explained)
        return self._mean + across @ self._weights, np.sqrt(np.maximum(variance, 1e-9))


def risk(features: Floats, known: Floats, lost: NDArray[np.bool_], *, dimensions: int) -> Floats:
    """How likely a run at new features is lost: the share of lost ones among those near it, the nearest counting most.

    Kernel regression after Nadaraya and Watson; 0 far from everything that is known.

    Args:
        features: (new, features).
        known: (known, features) of runs that are lost or have told a value.
        lost: (known,).
        dimensions: of the cube.
    """
    scale = RISK_SCALE * np.sqrt(dimensions)
    near = _matern(features / scale, known / scale)
    weights = near * near * near
    likely: Floats = weights @ lost / (weights.sum(axis=1) + _RISK_PRIOR)
    return likely


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """By how much each is expected to exceed `best`."""
    z = (mean - best) / deviation
    improvement: Floats = deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return improvement


def on_one_thread() -> AbstractContextManager[object]:
    """For the time of a block, linear algebra on one thread: matrices this small are ten times slower on several."""
    limited: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limited


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _matern(a: Floats, b: Floats) -> Floats:
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2.0 * a @ b.T
    r = np.sqrt(5.0 * np.maximum(squared, 0.0))
    kernel: Floats = (1.0 + r + r * r / 3.0) * np.exp(-r)
    return kernel
