"""Provide histories made by hand."""

import numpy as np
import pytest

from tuner.decisions.history import History


@pytest.fixture
def history():
    """Return a function that makes histories of 27 epochs: trial i has curves[i], by epoch, and statuses[i]."""

    def made(*curves, statuses=(), points=None, dimensions=1):
        seen = History(epochs=27, dimensions=dimensions)
        for number, curve in enumerate(curves):
            seen.begin(np.full(dimensions, 0.5) if points is None else np.asarray(points[number], float))
            for epoch, value in curve.items():
                seen.report(number, epoch, value)
        for number, status in enumerate(statuses):
            seen.set_status(number, status)
        return seen

    return made
