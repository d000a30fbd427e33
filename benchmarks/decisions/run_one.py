"""Run one method with one seed on some tables; print one JSON line per table. Needs the method's environment.

It imports only numpy, `tuner.simulation` and the peer itself.
"""

import argparse
import sys
import time
import zlib
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.decisions.contestants import CONTESTANTS, Factory, factory
from benchmarks.decisions.results import Key, as_line
from tuner.simulation.measures import measures
from tuner.simulation.replay import Pool, replay
from tuner.simulation.tables import load_arrays

CHECKPOINTS = tuple(range(5, 101, 5))
"""Percentages of the budget at which regret is recorded."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=CONTESTANTS)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--budget", type=float, required=True)
    options = parser.parse_args()
    with redirect_stdout(sys.stderr):  # some libraries print
        make = factory(options.method)
    for table in options.tables:
        key = Key(table.stem, options.method, options.seed, options.workers, options.budget)
        with redirect_stdout(sys.stderr):
            line = _search(table, make, key)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def seed_of(task: str, seed: int) -> int:
    """Derive the seed of a search, different for each task.

    TaskSet's tables share their configurations. With one seed for all, each search would start with the same ones, and
    many tasks would show hardly more about a method than one does.
    """
    return zlib.crc32(f"{task} {seed}".encode()) >> 1


def _search(path: Path, make: Factory, key: Key) -> str:
    table = load_arrays(path)
    began_s = time.process_time()
    tuner = make(table, Pool(table), seed_of(key.task, key.seed), key.workers)
    outcome = replay(table, tuner, workers=key.workers, budget=key.budget, checkpoints=CHECKPOINTS)
    cpu_s = time.process_time() - began_s
    return as_line(key, measures(table, outcome), cpu_s)


if __name__ == "__main__":
    main()
