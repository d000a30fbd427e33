"""Provide tables of learning curves made by hand."""

import numpy as np
import pytest

from tuner.simulation.tables import CurveTable


@pytest.fixture
def table():
    """Return a function that makes a table from curves of the metric. The default loss is 1 minus the metric."""

    def made(curves, *, points=None, loss=None, seconds=None, baseline=None):
        metric = np.asarray(curves, float)
        count = len(metric)
        return CurveTable(
            name="made",
            points=np.linspace(0, 1, count)[:, None] if points is None else np.asarray(points, float),
            choices=(0,) if points is None else (0,) * np.asarray(points).shape[1],
            metric=metric,
            loss=1.0 - metric if loss is None else np.asarray(loss, float),
            seconds=np.ones_like(metric) if seconds is None else np.asarray(seconds, float),
            baseline=baseline,
        )

    return made


@pytest.fixture
def smooth(table):
    """Return 60 curves of 27 epochs that rise towards a peak in the middle of a line; one in ten diverges at once."""
    rng = np.random.default_rng(0)
    points = rng.random((60, 2))
    top = 1.0 - np.abs(points - 0.6).sum(axis=1)
    curves = top[:, None] * (1 - np.exp(-np.arange(1, 28) / 8)) + rng.normal(scale=0.01, size=(60, 27))
    curves[::10] = np.nan
    return table(curves, points=points, loss=np.where(np.isnan(curves), np.inf, 2.0 - curves))
