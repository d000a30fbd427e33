"""Epochs that `auto` spends on diverged runs, where many configurations diverge.

    python -m benchmarks.decisions.dead_runs FOLDER... [--seeds N]

A replay trains the row nearest to a proposal. Where runs diverge close to the best configurations, as they do at high
learning rates, that row often diverges although the proposal would not. So each table is searched twice: as in the
other benchmarks, and with rows as the only points to choose from, which a real search comes closer to. Tables with many
diverging rows are searched once more with fewer of the others, so that `THINNED_TO` of all rows diverge.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from benchmarks.decisions.run_one import seed_of
from benchmarks.decisions.tasks import load
from tuner.simulation.measures import measures
from tuner.simulation.replay import Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Cube, Floats

WORKERS, BUDGET = 4, 20.0
PERCENTS = (25, 50, 100)
THINNED_TO = 0.42
_LEAST_DIVERGING = 0.2
"""Minimum share of diverging rows to thin out the others: below it, too few rows would be left for a search."""


@dataclass(frozen=True)
class _Rows(Cube):
    """Cube whose random points are rows of a table: the free ones that are nearest to random points."""

    pool: Pool
    points: Floats

    def random(self, rng: np.random.Generator, number: int) -> Floats:
        return self._nearest(super().random(rng, number))

    def near(self, rng: np.random.Generator, points: Floats, number: int, *, reach: float) -> Floats:
        return self._nearest(super().near(rng, points, number, reach=reach))

    def _nearest(self, points: Floats) -> Floats:
        rows = dict.fromkeys(self.pool.nearest(point) for point in points)
        nearest: Floats = self.points[list(rows)]
        return nearest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", type=Path, nargs="+", metavar="FOLDER", help="npz files, or folders of them")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--method", choices=("auto", "asha-promotion"), default="auto")
    options = parser.parse_args()
    _write(f"{'table':40} {'diverging':>9}  {'nearest rows: dead, regret':34} only rows: dead, regret")
    found = []
    for path in chain.from_iterable(sorted(path.glob("*.npz")) if path.is_dir() else [path] for path in options.tables):
        table = load(path, default="none", cost="epochs")
        found.append(_compared(table, options.method, options.seeds))
        if found[-1].diverging >= _LEAST_DIVERGING:
            _compared(_thinned(table), options.method, options.seeds)
    dead, dead_of_rows = np.mean([(one.dead, one.dead_of_rows) for one in found], axis=0)
    _write(f"mean of the {len(found)} tables: {dead:.2%} with nearest rows, {dead_of_rows:.2%} with only rows")


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Shares of a table and of its searches."""

    diverging: float
    dead: float
    dead_of_rows: float


def _compared(table: CurveTable, method: str, seeds: int) -> _Compared:
    """Search a table in both ways and print the shares."""
    diverging = float(np.mean(table.dead_from <= table.epochs))
    near, exact = (_searched(table, method, seeds, only_rows=only_rows) for only_rows in (False, True))
    _write(f"{table.name:40} {diverging:9.1%}  {_shown(near):34} {_shown(exact)}")
    return _Compared(diverging=diverging, dead=float(near[0]), dead_of_rows=float(exact[0]))


def _searched(table: CurveTable, method: str, seeds: int, *, only_rows: bool) -> Floats:
    """Return the mean share of dead epochs and the mean regret at `PERCENTS`."""
    found = []
    for seed in range(seeds):
        pool = Pool(table)
        cube = _Rows(table.cube.dimensions, pool, table.points) if only_rows else None
        search = SimulatedSearch(table, pool, method, seed=seed_of(table.name, seed), cube=cube)
        told = measures(table, replay(table, search, workers=WORKERS, budget=BUDGET, checkpoints=PERCENTS))
        found.append([told["dead_epoch_share"], *(told["regret"][str(percent)] for percent in PERCENTS)])
    mean: Floats = np.mean(found, axis=0)
    return mean


def _thinned(table: CurveTable) -> CurveTable:
    """Return the table with all its diverging rows and as many others, drawn at random, as `THINNED_TO` demands."""
    diverges = table.dead_from <= table.epochs
    wanted = round(diverges.sum() * (1.0 / THINNED_TO - 1.0))
    others = np.random.default_rng(0).choice(np.flatnonzero(~diverges), wanted, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(diverges), others]))
    return replace(
        table,
        name=f"{table.name}, thinned",
        points=table.points[rows],
        metric=table.metric[rows],
        loss=table.loss[rows],
        seconds=table.seconds[rows],
    )


def _shown(found: Floats) -> str:
    return f"{found[0]:6.2%}  " + " / ".join(f"{value:.3f}" for value in found[1:])


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
