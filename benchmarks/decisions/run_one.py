"""Run some searches of one method; print one JSON line per search. Needs the method's environment.

It imports only numpy, `tuner.simulation` and the peer itself.
"""

import argparse
import sys
import time
import zlib
from contextlib import redirect_stdout
from pathlib import Path

from benchmarks.decisions.contestants import CONTESTANTS, Factory, factory
from benchmarks.decisions.results import COSTS, DEFAULTS, Key, Setting, as_line
from benchmarks.decisions.tasks import key_of, load
from tuner.simulation.measures import measures
from tuner.simulation.replay import Pool, replay

CHECKPOINTS = tuple(range(5, 101, 5))
"""Percentages of the budget at which regret is recorded."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=CONTESTANTS)
    parser.add_argument("--search", nargs=2, action="append", required=True, metavar=("SEED", "TABLE"))
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--default", choices=DEFAULTS, required=True)
    parser.add_argument("--cost", choices=COSTS, required=True)
    options = parser.parse_args()
    setting = Setting(options.workers, options.budget, options.default, options.cost)
    with redirect_stdout(sys.stderr):  # some libraries print
        make = factory(options.method)
    for seed, file in options.search:
        table = Path(file)
        with redirect_stdout(sys.stderr):
            line = _search(table, make, key_of(table, options.method, int(seed), setting))
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def seed_of(task: str, seed: int) -> int:
    """Derive the seed of a search, different for each task.

    TaskSet's tables share their configurations. With one seed for all, each search would start with the same ones, and
    many tasks would show hardly more about a method than one does.
    """
    return zlib.crc32(f"{task} {seed}".encode()) >> 1


def _search(path: Path, make: Factory, key: Key) -> str:
    workers, budget = key.setting.workers, key.setting.budget
    table = load(path, default=key.setting.default, cost=key.setting.cost)
    began_s = time.process_time()
    tuner = make(table, Pool(table), seed_of(key.task, key.seed), workers)
    outcome = replay(table, tuner, workers=workers, budget=budget, checkpoints=CHECKPOINTS)
    cpu_s = time.process_time() - began_s
    return as_line(key, measures(table, outcome), cpu_s)


if __name__ == "__main__":
    main()
