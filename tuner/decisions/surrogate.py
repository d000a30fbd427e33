"""Predict the scores of untried configurations from the trials so far: a Gaussian process over the cube.

It is deliberately small: only two numbers are fitted, one factor on all length scales and one on the noise. Source:
Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1 and section 5.4.1, with a Matérn
kernel of smoothness 5/2.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from tuner.unit_cube import Floats

SCALE = 0.18
"""Length scale in units of the square root of the number of dimensions; random points are about 0.4 units apart."""
NOISE = 0.1
"""Variance of the observation noise of a complete trial, relative to scores of variance 1."""
_FITTED = 64
"""Maximum number of trials that the scale and the noise are fitted to, evenly spread over the given ones."""
_SCALE_FACTORS = (0.6, 1.0, 1.7, 2.8)
_NOISE_FACTORS = (0.25, 0.7, 2.0)
_SPREAD_OF_SCALES = 0.7
"""Standard deviation of the logarithm of the scale's factor, before any result is known; of the noise's factor: 1."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Length scale and noise of a surrogate."""

    scale: float
    """In units of the features."""
    noise_factor: float = 1.0
    """Factor on the noise of all trials."""


def fitted(features: Floats, scores: Floats, noise: Floats, *, dimensions: int) -> Kernel:
    """Return the kernel with the greatest posterior probability, from a small grid; the arguments are `Surrogate`'s."""
    number = len(scores)
    some = np.linspace(0, number - 1, min(number, _FITTED)).astype(int)
    features, noise = features[some], noise[some]
    centred = scores[some] - scores[some].mean()
    distances = _distances(features, features)
    best, least = Kernel(SCALE * np.sqrt(dimensions)), np.inf
    for factor in _SCALE_FACTORS:
        scale = factor * SCALE * np.sqrt(dimensions)
        covariance = _matern_of(distances / scale)
        for noise_factor in _NOISE_FACTORS:
            factorised = np.linalg.cholesky(covariance + np.diag(noise * noise_factor))
            whitened = solve_triangular(factorised, centred, lower=True, check_finite=False)
            misfit = 0.5 * float(whitened @ whitened) + float(np.log(np.diag(factorised)).sum())
            misfit += 0.5 * (np.log(factor) / _SPREAD_OF_SCALES) ** 2 + 0.5 * np.log(noise_factor) ** 2
            if misfit < least:
                best, least = Kernel(scale, noise_factor), misfit
    return best


class Surrogate:
    """Model of the scores (variance about 1, higher is better) as a function of the features of configurations."""

    def __init__(self, features: Floats, scores: Floats, noise: Floats, kernel: Kernel) -> None:
        """Condition the model on known scores.

        Args:
            features: Features of the known configurations, shape (known, features).
            scores: Their scores, shape (known,).
            noise: Variance of the noise of each score, shape (known,).
            kernel: Length scale and noise factor.
        """
        self._scale = kernel.scale
        self._features = features / self._scale
        self._mean = float(scores.mean())
        covariance = _matern(self._features, self._features)
        covariance[np.diag_indices_from(covariance)] += noise * kernel.noise_factor
        self._factor = np.linalg.cholesky(covariance)
        self._weights = cho_solve((self._factor, True), scores - self._mean, check_finite=False)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the scores at new features, shape (new, features)."""
        across = _matern(features / self._scale, self._features)
        explained = solve_triangular(self._factor, across.T, lower=True, check_finite=False)
        variance = 1.0 - np.einsum("ij,ij->j", explained, explained)
        return self._mean + across @ self._weights, np.sqrt(np.maximum(variance, 1e-9))


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return the expected improvement of each candidate over `best`."""
    z = (mean - best) / deviation
    improvement: Floats = deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return improvement


def on_one_thread() -> AbstractContextManager[object]:
    """Limit linear algebra to one thread within a block: on several, matrices this small are ten times slower."""
    limited: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limited


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def _matern(a: Floats, b: Floats) -> Floats:
    return _matern_of(_distances(a, b))


def _matern_of(distances: Floats) -> Floats:
    r = np.sqrt(5.0) * distances
    kernel: Floats = (1.0 + r + r * r / 3.0) * np.exp(-r)
    return kernel


def _distances(a: Floats, b: Floats) -> Floats:
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2.0 * a @ b.T
    distances: Floats = np.sqrt(np.maximum(squared, 0.0))
    return distances
