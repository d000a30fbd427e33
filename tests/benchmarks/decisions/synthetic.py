"""A small table with everything that a peer may stumble over, and a search of it that runs in any environment."""

import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np

from benchmarks.decisions.contestants import factory
from tuner.simulation.replay import Pool, replay
from tuner.simulation.tables import CurveTable

CONFIGURATIONS, EPOCHS = 80, 9


def table() -> CurveTable:
    """Two ranges and a choice; every fifth run diverges, at some epoch from the first to the last."""
    random = np.random.default_rng(0)
    points = random.random((CONFIGURATIONS, 3))
    points[:, 2] = (random.integers(3, size=CONFIGURATIONS) + 0.5) / 3
    best = 1 - ((points - 0.4) ** 2).sum(axis=1)
    metric = best[:, None] * (1 - 0.5 ** np.arange(1, EPOCHS + 1))
    metric += 0.01 * random.standard_normal(metric.shape)
    for row in range(0, CONFIGURATIONS, 5):
        metric[row, row // 5 % EPOCHS :] = np.nan
    return CurveTable(
        name="synthetic",
        points=points,
        choices=(0, 0, 3),
        metric=metric,
        loss=np.where(np.isnan(metric), np.nan, 2 - metric),
        seconds=np.ones_like(metric),
    )


def search(method: str, seed: int, default: int | None = None) -> dict:
    """Summarise the result of a method on that table; `default` is the row of the default, if it is known."""
    searched = replace(table(), baseline=default)
    tuner = factory(method)(searched, Pool(searched), seed, 2)
    outcome = replay(searched, tuner, workers=2, budget=6.0, checkpoints=(10, 100))
    return {
        "incumbents": list(outcome.incumbents.values()),
        "rows": outcome.rows,
        "epochs": outcome.epochs,
        "idle_s": outcome.idle_s,
        "log": outcome.log,
    }


def main() -> None:
    with redirect_stdout(sys.stderr):
        method, seed, default = sys.argv[1:]
        found = search(method, int(seed), json.loads(default))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
