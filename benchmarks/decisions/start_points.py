"""Effect of starting points on the detector table: `auto` with and without them, and the rows nearest to them.

python -m benchmarks.decisions.start_points [--seeds N]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.decisions.run_one import seed_of
from benchmarks.decisions.statistics import bootstrap
from tuner.curve_table.reader import read_curves
from tuner.search.start_points import SHARE, start_points
from tuner.search.warm_start import Start
from tuner.simulation.measures import measures
from tuner.simulation.replay import Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import CurveTable
from tuner.space import UnitCube, load_space, shipped_start_points, start_point_of
from tuner.unit_cube import Floats

FOLDER = Path(__file__).parent / "detector_table"
WORKERS, BUDGET = 4, 20.0
PERCENTS = (10, 25, 33, 50, 100)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--first", type=int, nargs="+", default=[3, 5, 9], metavar="N", help="starting points to try")
    options = parser.parse_args()
    table = read_curves(FOLDER / "detector.parquet")
    table = replace(table, seconds=np.ones_like(table.seconds))  # the times are those of a busy machine
    starts, points = _points()
    _say_nearest(table, starts, points)
    seeds = range(options.seeds)
    cold = [_searched(table, [], seed) for seed in seeds]
    _say("nothing more", cold, cold)
    for number in options.first:
        _say(f"{number} starting points", [_searched(table, points[:number], seed) for seed in seeds], cold)
        drawn = [list(table.cube.random(np.random.default_rng(seed), number)) for seed in seeds]
        _say(f"{number} random points", [_searched(table, drawn[seed], seed) for seed in seeds], cold)


def _points() -> tuple[tuple[Start, ...], list[Floats]]:
    """Return all starting points in the space of the table, and their places in its unit cube."""
    space = load_space(FOLDER / "space.yaml")
    shipped = shipped_start_points("detectors")
    settings = replace(space.settings, start_points=shipped, trials=SHARE * len(shipped))
    starts = start_points(replace(space, settings=settings))
    cube = UnitCube(space)
    return starts, [cube.point(start.configuration) for start in starts]


def _say_nearest(table: CurveTable, starts: Sequence[Start], points: Sequence[Floats]) -> None:
    """Print the row nearest to each starting point, as a replay without other trials would take it."""
    apart = np.linalg.norm(table.points[:, None] - table.points, axis=2)
    closest = np.where(apart > 0, apart, np.inf).min(axis=1)
    order = np.argsort(-table.final)
    assert table.baseline is not None
    place = int(np.flatnonzero(order == table.baseline)[0]) + 1
    _write(f"the default has rank {place} of {len(order)}, {table.final[table.baseline]:.3f}")
    _write(f"{'starting point':16} {'row':>4} {'distance':>8} {'rank':>4} {'final':>6} {'from default':>12}")
    for start, point in zip(starts, points, strict=True):
        row = Pool(table).nearest(point)
        distance, changed = (np.linalg.norm(table.points[other] - point) for other in (row, table.baseline))
        rank = int(np.flatnonzero(order == row)[0]) + 1
        name = start_point_of(start.candidate.origin)
        _write(f"{name:16} {row:4d} {distance:8.2f} {rank:4d} {table.final[row]:6.3f} {changed:12.2f}")
    low, middle, high = np.percentile(closest, (10, 50, 90))
    _write(f"between a row and the nearest other: {low:.2f} / {middle:.2f} / {high:.2f} (10, 50, 90 %)")


def _searched(table: CurveTable, first: Sequence[Floats], seed: int) -> dict[str, float]:
    pool = Pool(table)
    search = SimulatedSearch(table, pool, "auto", seed=seed_of(table.name, seed), first=first)
    outcome = replay(table, search, workers=WORKERS, budget=BUDGET, checkpoints=PERCENTS)
    regret: dict[str, float] = measures(table, outcome)["regret"]
    return regret


def _say(name: str, regrets: Sequence[dict[str, float]], cold: Sequence[dict[str, float]]) -> None:
    means = " / ".join(f"{np.mean([regret[str(percent)] for regret in regrets]):.3f}" for percent in PERCENTS)
    _write(f"{name}: {means}")
    if regrets is cold:
        return
    for percent in PERCENTS:
        pairs = [one[str(percent)] - other[str(percent)] for one, other in zip(regrets, cold, strict=True)]
        found = bootstrap({"detector": pairs})
        _write(f"  at {percent:3d} %: {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
