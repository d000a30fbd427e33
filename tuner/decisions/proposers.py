"""Propose the next configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tuner.decisions.expectations import Expectations, expectations, normal_scores
from tuner.decisions.history import BASELINE, History, Status
from tuner.decisions.risk import risk
from tuner.decisions.rungs import Rungs
from tuner.decisions.surrogate import NOISE, Surrogate, expected_improvement, fitted, on_one_thread
from tuner.unit_cube import Cube, Floats

Allowed = Callable[[Floats], bool]
"""Function that returns True if a point can be tried at all."""


_TRIES = 200
"""Number of random points to search for an allowed one."""
_LEFT = 1 / 8
"""Minimum share of the points that is kept, however risky they all are."""
_LEAST_VARIANCE = 0.1
_MOST_NOISE = 2.0
"""Limits of the noise of trials that ended early, relative to scores of variance 1."""


class Proposer(Protocol):
    """Rule that proposes a new configuration."""

    def propose(self, history: History, cube: Cube, rungs: Rungs, *, seed: int, allowed: Allowed) -> Floats | None:
        """Return a tidy point; None if no allowed one was found. The same history and seed give the same point."""


@dataclass(frozen=True, slots=True)
class RandomProposer:
    """Uniformly random proposals."""

    def propose(self, history: History, cube: Cube, rungs: Rungs, *, seed: int, allowed: Allowed) -> Floats | None:
        rng = _generator(seed, history)
        return next((point for point in cube.random(rng, _TRIES) if allowed(point)), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelProposer:
    """Propose most points from a model of all trials, others at random, and avoid points at risk of a lost run.

    The model includes trials that were paused, stopped or lost, and proposes the point with the greatest expected
    improvement. A trial that ended early counts less, by as much as its rung leaves open
    (`tuner.decisions.expectations`). Running trials count with their expected score, so parallel proposals differ. The
    model sees at most `most_known` trials: half of them the best ones, the others drawn from the rest.
    """

    first_random: int = 16
    """Minimum number of results before the model proposes."""
    random_share: float = 0.1
    """Share of random proposals after that."""
    most_known: int = 128
    near_baseline: float = 0.5
    """Share of the random proposals that change about half of the default configuration's values, slightly. Its authors
    have tried more configurations than a search ever will. Must be 0 if it is not the first trial."""
    risk: float = 0.1
    """Maximum probability of a lost run: riskier points are not proposed, unless fewer than an eighth are left."""
    most_weighed: int = 256
    """Maximum number of trials to estimate the risk from, drawn from all."""
    candidates: int = 256
    """Number of random points that the model chooses from, plus half as many near the best trials."""
    best_trials: int = 12
    reach: float = 0.1

    def propose(self, history: History, cube: Cube, rungs: Rungs, *, seed: int, allowed: Allowed) -> Floats | None:
        with on_one_thread():
            rng = _generator(seed, history)
            is_guided = rng.random() >= self.random_share
            expected = expectations(history, rungs)
            known = np.flatnonzero(~np.isnan(expected.mean))
            if not is_guided or len(known) < self.first_random:
                return self._unguided(rng, history, cube, allowed)
            ranked = known[np.argsort(-expected.mean[known], kind="stable")]
            best = history.points[ranked[: self.best_trials]]
            candidates = np.concatenate(
                [cube.random(rng, self.candidates), cube.near(rng, best, self.candidates // 2, reach=self.reach)]
            )
            candidates = self._survivable(rng, history, cube, candidates)
            seen = self._seen(ranked, rng)
            improvement = _improvement(history, cube, expected, known, seen, best, candidates)
        order = np.argsort(-improvement, kind="stable")
        return next((candidates[i] for i in order if allowed(candidates[i])), None)

    def _unguided(self, rng: np.random.Generator, history: History, cube: Cube, allowed: Allowed) -> Floats | None:
        """Return a random point, near the default configuration or anywhere."""
        if self.near_baseline and rng.random() < self.near_baseline and len(history):
            points = cube.near(rng, history.points[BASELINE][None], _TRIES, reach=self.reach)
        else:
            points = cube.random(rng, _TRIES)
        points = self._survivable(rng, history, cube, points)
        return next((point for point in points if allowed(point)), None)

    def _survivable(self, rng: np.random.Generator, history: History, cube: Cube, points: Floats) -> Floats:
        """Return the points at which a run is unlikely to be lost."""
        lost = history.status == Status.LOST
        told = np.flatnonzero(lost | ((history.reached > 0) & (history.status != Status.UNKNOWN)))
        if len(told) > self.most_weighed:
            told = rng.choice(told, self.most_weighed, replace=False)
        if not lost[told].any():
            return points
        likely = risk(cube.features(points), cube.features(history.points[told]), lost[told])
        return points[likely <= max(self.risk, float(np.quantile(likely, _LEFT)))]

    def _seen(self, ranked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if len(ranked) <= self.most_known:
            return ranked
        half = self.most_known // 2
        others = rng.choice(ranked[half:], self.most_known - half, replace=False)
        return np.concatenate([ranked[:half], others])


def _improvement(
    history: History,
    cube: Cube,
    expected: Expectations,
    known: np.ndarray,
    seen: np.ndarray,
    best: Floats,
    candidates: Floats,
) -> Floats:
    """Return the expected improvement of each candidate over the best expected score of the trials so far."""
    scores = np.full(len(history), np.nan)
    scores[known] = normal_scores(expected.mean[known])
    features, noise = cube.features(history.points[seen]), NOISE + _uncertainty(expected, known)[seen]
    kernel = fitted(features, scores[seen], noise, dimensions=len(cube.dimensions))
    model = Surrogate(features, scores[seen], noise, kernel)
    running = np.flatnonzero((history.status == Status.RUNNING) & np.isnan(scores))
    if len(running):
        on_the_way = cube.features(history.points[running])
        imagined, _ = model.predict(on_the_way)
        model = Surrogate(
            np.concatenate([features, on_the_way]),
            np.concatenate([scores[seen], imagined]),
            np.concatenate([noise, np.full(len(running), NOISE)]),
            kernel,
        )
    incumbent = float(model.predict(cube.features(best))[0].max())
    return expected_improvement(*model.predict(cube.features(candidates)), incumbent)


def _uncertainty(expected: Expectations, known: np.ndarray) -> Floats:
    """Return the variance of each trial's expectation, relative to that of all expectations."""
    finite = expected.mean[known][np.isfinite(expected.mean[known])]
    spread = max(float(finite.var()), _LEAST_VARIANCE) if len(finite) > 1 else 1.0
    return np.minimum(expected.variance / spread, _MOST_NOISE)


def _generator(seed: int, history: History) -> np.random.Generator:
    """Create the random generator of this proposal, which differs by the number of the next trial."""
    return np.random.default_rng((seed, len(history)))
