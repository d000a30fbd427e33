"""Run every search that is missing from the results file. After an interruption, the same command continues."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.decisions.contestants import CONTESTANTS
from benchmarks.decisions.environments import ROOT, is_ready, python
from benchmarks.decisions.results import Key, append, read
from tuner.curve_table.reader import read_curves
from tuner.simulation.tables import save_arrays

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Limits linear algebra to one thread; otherwise it takes all cores, including those of other searches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Searches that share a process, so that a library is imported once for all of them."""

    method: str
    seed: int
    tables: tuple[Path, ...]
    workers: int
    budget: float

    @property
    def command(self) -> list[str]:
        interpreter = python(CONTESTANTS[self.method].environment)
        options = ["--seed", str(self.seed), "--workers", str(self.workers), "--budget", str(self.budget)]
        return [str(interpreter), "-m", "benchmarks.decisions.run_one", *options, self.method, *map(str, self.tables)]


def plan(
    tables: Sequence[Path], methods: Sequence[str], *, seeds: int, workers: int, budget: float, done: Collection[Key]
) -> Iterator[Batch]:
    """Yield the missing searches, all methods with one seed before the next seed."""
    for seed in range(seeds):
        for method in methods:
            missing = tuple(t for t in tables if Key(t.stem, method, seed, workers, budget) not in done)
            if missing:
                yield Batch(method=method, seed=seed, tables=missing, workers=workers, budget=budget)


def carry_out(batch: Batch, out: Path) -> str | None:
    """Run a batch and record each search when it ends; return the error, or None."""
    environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": str(ROOT)}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            batch.command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            append(out, line.rstrip("\n"))
        if process.wait() == 0:
            return None
        errors.seek(0)
        return errors.read()[-2000:]


def main() -> None:
    options = _options()
    methods = [name for name in options.methods if _is_ready(name)]
    batches = list(
        plan(
            _tables(options.taskset, options.table, options.out.parent, equal_epochs=options.equal_epochs),
            methods,
            seeds=options.seeds,
            workers=options.workers,
            budget=options.budget,
            done={run.key for run in read(options.out)},
        )
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [
            pool.submit(_report, f"{number}/{len(batches)}", batch, options.out)
            for number, batch in enumerate(batches, 1)
        ]
        failures = sum(failed.result() for failed in running)
    sys.exit(f"{failures} of {len(batches)} failed" if failures else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--taskset", type=Path, metavar="FOLDER", help="npz files of TaskSet's curves")
    parser.add_argument("--table", type=Path, action="append", default=[], metavar="FILE", help="one more table")
    parser.add_argument(
        "--equal-epochs",
        action="store_true",
        help="let every epoch of these tables cost the same: for times of a machine that did other things too",
    )
    parser.add_argument("--methods", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10, help="how many, counted from 0 (default 10)")
    parser.add_argument("--workers", type=int, default=4, help="simulated ones (default 4)")
    parser.add_argument("--budget", type=float, default=20.0, help="in full runs (default 20)")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the file of results")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default 2)")
    options = parser.parse_args()
    if options.taskset is None and not options.table:
        parser.error("nothing to search: give --taskset FOLDER or --table FILE")
    return options


def _tables(taskset: Path | None, more: Sequence[Path], folder: Path, *, equal_epochs: bool) -> list[Path]:
    found = sorted(taskset.glob("*.npz")) if taskset is not None else []
    return [table.resolve() for table in (*found, *(_as_arrays(table, folder, equal_epochs) for table in more))]


def _as_arrays(path: Path, folder: Path, equal_epochs: bool) -> Path:
    """Save the table in a format that every environment can read: most peers' environments cannot read parquet."""
    if path.suffix == ".npz":
        return path
    folder.mkdir(parents=True, exist_ok=True)
    table = read_curves(path)
    arrays = folder / f"{path.stem}.npz"
    save_arrays(replace(table, seconds=np.ones_like(table.seconds)) if equal_epochs else table, arrays)
    return arrays


def _is_ready(method: str) -> bool:
    environment = CONTESTANTS[method].environment
    if is_ready(environment):
        return True
    _say(f"without {method}: first run python -m benchmarks.decisions.environments {environment}")
    return False


def _report(place: str, batch: Batch, out: Path) -> bool:
    """Run a batch and print the outcome; return True if it failed."""
    began_s = time.monotonic()
    failure = carry_out(batch, out)
    took_s = time.monotonic() - began_s
    _say(f"{place} {batch.method}, seed {batch.seed}, {len(batch.tables)} tables: {took_s:.0f} s")
    if failure is not None:
        _say(f"FAILED:\n{failure}")
    return failure is not None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
