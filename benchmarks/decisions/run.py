"""Run every search that is missing from the results file. After an interruption, the same command continues."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.decisions.contestants import CONTESTANTS
from benchmarks.decisions.environments import ROOT, is_ready, python
from benchmarks.decisions.results import DEFAULTS, Key, Setting, append, read
from benchmarks.decisions.tasks import key_of, load
from tuner.curve_table.reader import read_curves
from tuner.exceptions import DataError
from tuner.simulation.tables import save_arrays

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Limits linear algebra to one thread; otherwise it takes all cores, including those of other searches."""


_SEEDS_AT_A_TIME = 5

Search = tuple[int, Path]
"""Seed and table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Searches that share a process, so that a library is imported once for all of them."""

    method: str
    setting: Setting
    searches: tuple[Search, ...]

    @property
    def command(self) -> list[str]:
        interpreter = python(CONTESTANTS[self.method].environment)
        options = [f"--{name}={value}" for name, value in self.setting._asdict().items()]
        searches = [str(part) for search in self.searches for part in ("--search", *search)]
        return [str(interpreter), "-m", "benchmarks.decisions.run_one", self.method, *options, *searches]


def plan(
    tables: Sequence[Path], methods: Sequence[str], settings: Sequence[Setting], *, seeds: int, done: Collection[Key]
) -> Iterator[Batch]:
    """Yield the missing searches: a few seeds with all methods and settings before the next seeds."""
    for first in range(0, seeds, _SEEDS_AT_A_TIME):
        some = range(first, min(first + _SEEDS_AT_A_TIME, seeds))
        for method in methods:
            for setting in settings:
                searches = [(seed, table) for seed in some for table in tables]
                missing = tuple(one for one in searches if key_of(one[1], method, one[0], setting) not in done)
                if missing:
                    yield Batch(method=method, setting=setting, searches=missing)


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
    cost = "epochs" if options.equal_epochs else "seconds"
    settings = [Setting(options.workers, options.budget, default, cost) for default in options.default]
    methods = [name for name in options.methods if _is_ready(name)]
    batches = list(
        plan(
            _tables(options.tables, options.out.parent, options.default),
            methods,
            settings,
            seeds=options.seeds,
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
    parser.add_argument(
        "--tables",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="folders of npz files, a folder per family of tasks, or single tables",
    )
    parser.add_argument(
        "--default",
        nargs="+",
        choices=DEFAULTS,
        default=["first"],
        help="whether each search tries the default configuration first, or nobody knows it (default first)",
    )
    parser.add_argument(
        "--equal-epochs",
        action="store_true",
        help="let every epoch cost the same: for times of a machine that did other things too",
    )
    parser.add_argument("--methods", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10, help="how many, counted from 0 (default 10)")
    parser.add_argument("--workers", type=int, default=4, help="simulated ones (default 4)")
    parser.add_argument("--budget", type=float, default=20.0, help="in full runs (default 20)")
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help="the file of results")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default 2)")
    return parser.parse_args()


def _tables(paths: Sequence[Path], folder: Path, defaults: Sequence[str]) -> list[Path]:
    """Return the npz files to search, each in a folder of its family's name, and check that they can be searched."""
    found = [file for path in paths for file in (sorted(path.glob("*.npz")) if path.is_dir() else [path])]
    tables = [_as_arrays(file, folder).resolve() for file in found]
    if not tables:
        sys.exit("--tables must name npz files of learning curves or folders of them; check the paths.")
    try:
        for table in tables:
            for default in defaults:
                load(table, default=default, cost="seconds")
    except DataError as error:
        sys.exit(str(error))
    return tables


def _as_arrays(path: Path, folder: Path) -> Path:
    """Save the table in a format that every environment can read: most peers' environments cannot read parquet."""
    if path.suffix == ".npz":
        return path
    arrays = folder / path.stem / f"{path.stem}.npz"
    arrays.parent.mkdir(parents=True, exist_ok=True)
    save_arrays(read_curves(path), arrays)
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
    setting = f"default {batch.setting.default}, {batch.setting.cost}"
    _say(f"{place} {batch.method}, {setting}, {len(batch.searches)} searches: {took_s:.0f} s")
    if failure is not None:
        _say(f"FAILED:\n{failure}")
    return failure is not None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
