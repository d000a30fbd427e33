"""Noises that are not recorded, in worlds in which no configuration is better than the default.

In the difference of two equally noisy configurations, heavy tails and ruined runs are symmetric. What misleads is noise
of the candidates alone, with many good runs and a few bad ones: a few seeds often show only the good ones.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from benchmarks.verdicts.tables import Floats
from benchmarks.verdicts.worlds import CONFIGURATIONS, SEEDS, World

_METRIC = 100.0
"""True metric of every configuration, in standard deviations of the default's noise."""

Noise = Callable[[np.random.Generator, tuple[int, int]], Floats]
"""Draw noise of mean 0, shape (configurations, seeds), the default first."""


def _normal(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.standard_normal(shape)


def _student(rng: np.random.Generator, shape: tuple[int, int], *, freedom: float) -> Floats:
    return rng.standard_t(freedom, shape)


def _contaminated(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return rng.standard_normal(shape) * np.where(rng.random(shape) < 0.05, 10.0, 1.0)


def _ruined(rng: np.random.Generator, shape: tuple[int, int], *, share: float, default: bool) -> Floats:
    """Lose ten standard deviations in a share of the runs; `default` says whether the default does so too."""
    lost = -10 * ((rng.random(shape) < share) - share)
    if not default:
        lost[0] = 0
    return rng.standard_normal(shape) + lost


def _short(rng: np.random.Generator, shape: tuple[int, int], *, times: float) -> Floats:
    """Let candidates fall short exponentially, with so many times the standard deviation of the default's noise."""
    noise = times * (1 - rng.standard_exponential(shape))
    noise[0] = rng.standard_normal(shape[1])
    return noise


NOISES: Mapping[str, Noise] = {
    "normal": _normal,
    "Student's t, 3 degrees": partial(_student, freedom=3.0),
    "Student's t, 2 degrees": partial(_student, freedom=2.0),
    "normal, 5 % of the runs with 10 times the spread": _contaminated,
    "5 % of all runs ruined": partial(_ruined, share=0.05, default=True),
    "10 % of all runs ruined": partial(_ruined, share=0.1, default=True),
    "20 % of all runs ruined": partial(_ruined, share=0.2, default=True),
    "candidates fall short, as noisy as the default": partial(_short, times=1.0),
    "candidates fall short, 3 times as noisy": partial(_short, times=3.0),
    "candidates fall short, 10 times as noisy": partial(_short, times=10.0),
    "5 % of the candidates' runs ruined": partial(_ruined, share=0.05, default=False),
    "10 % of the candidates' runs ruined": partial(_ruined, share=0.1, default=False),
    "20 % of the candidates' runs ruined": partial(_ruined, share=0.2, default=False),
}


def world_of(noise: Noise, rng: np.random.Generator) -> World:
    """Make a world in which all configurations are equally good."""
    metrics = _METRIC + noise(rng, (CONFIGURATIONS + 1, SEEDS))
    return World(metrics=metrics, truth=np.full(len(metrics), _METRIC), noise=1.0)
