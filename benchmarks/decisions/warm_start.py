"""Effect of `--warm-start`: `auto` searches each table with and without the best results of another table.

python -m benchmarks.decisions.warm_start --taskset FOLDER [--seeds N]
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.decisions.run_one import seed_of
from benchmarks.decisions.statistics import bootstrap
from tuner.search.warm_start import MOST
from tuner.simulation.measures import measures
from tuner.simulation.replay import Outcome, Pool, replay
from tuner.simulation.simulated import SimulatedSearch
from tuner.simulation.tables import CurveTable, load_arrays
from tuner.unit_cube import Floats

WORKERS, BUDGET = 4, 20.0
PERCENTS = (10, 25, 50, 100)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--taskset", type=Path, required=True, metavar="FOLDER", help="npz files of learning curves")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, nargs="+", default=[MOST], metavar="N", help="taken from the other search")
    options = parser.parse_args()
    tables = [load_arrays(file) for file in sorted(options.taskset.glob("*.npz"))]
    cold = {table.name: [_searched(table, (), seed) for seed in range(options.seeds)] for table in tables}
    _say("cold   ", cold)
    for number in options.first:
        warm = {
            table.name: [
                _searched(table, _best_elsewhere(tables, task, seed, number), seed) for seed in range(options.seeds)
            ]
            for task, table in enumerate(tables)
        }
        _say(f"warm {number:2d}", warm)
        for percent in PERCENTS:
            pairs = {task: _differences(warm[task], cold[task], percent) for task in warm}
            found = bootstrap(pairs)
            sys.stdout.write(f"  at {percent:3d} %: {found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]\n")


def _best_elsewhere(tables: Sequence[CurveTable], task: int, seed: int, number: int) -> list[Floats]:
    """Return the best configurations of a full search of another table; each seed takes the next table."""
    other = tables[(task + 1 + seed % (len(tables) - 1)) % len(tables)]
    outcome = _replayed(other, (), seed + 1_000)
    full = [row for row, epochs in zip(outcome.rows, outcome.epochs, strict=True) if epochs == other.epochs]
    ranked = sorted(full, key=lambda row: -other.metric[row, -1])
    return [other.points[row] for row in ranked[:number]]


def _searched(table: CurveTable, first: Sequence[Floats], seed: int) -> Mapping[str, float]:
    regret: Mapping[str, float] = measures(table, _replayed(table, first, seed))["regret"]
    return regret


def _replayed(table: CurveTable, first: Sequence[Floats], seed: int) -> Outcome:
    pool = Pool(table)
    search = SimulatedSearch(table, pool, "auto", seed=seed_of(table.name, seed), first=first)
    return replay(table, search, workers=WORKERS, budget=BUDGET)


def _differences(warm: Sequence[Mapping[str, float]], cold: Sequence[Mapping[str, float]], percent: int) -> list[float]:
    return [one[str(percent)] - other[str(percent)] for one, other in zip(warm, cold, strict=True)]


def _say(name: str, by_task: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    means = (np.mean([[regret[str(p)] for regret in regrets] for regrets in by_task.values()]) for p in PERCENTS)
    sys.stdout.write(f"{name}: " + " / ".join(f"{mean:.3f}" for mean in means) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
