"""Searches whose proposals are trained as they are: between the rows of a table, a model of its curves answers.

    python -m benchmarks.decisions.continuous FOLDER... [--seeds N] [--methods METHOD...]

In the other benchmarks, a proposal trains the nearest free row. That hides a weakness that a real search shows: there,
a method that proposes nearly the same configuration again and again is sent to other rows. Here, it gets nearly the
same curve again. Only methods without an environment of their own take part.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from benchmarks.decisions.contestants import factory
from benchmarks.decisions.layout import as_markdown
from benchmarks.decisions.run_one import seed_of
from benchmarks.decisions.statistics import bootstrap
from benchmarks.decisions.tasks import load
from tuner.simulation.measures import measures
from tuner.simulation.replay import Pool, replay
from tuner.simulation.tables import CurveTable
from tuner.unit_cube import Floats

WORKERS, BUDGET = 4, 20.0
PERCENTS = (10, 25, 35, 50, 100)
METHODS = (
    "auto",
    "asha-promotion",
    "random",
    "optuna-tpe",
    "ultralytics-ga (re-implementation)",
    "ray-asha-10-optuna-tpe",
)
_AGAINST = "ray-asha-10-optuna-tpe"
_COMPARED = (25, 50, 100)
"""Percentages of the budget at which methods are compared with it."""
_MOST_TRIALS = 1500
_TREES = 40


class CurveModel:
    """Model of a table's curves as functions of the configuration.

    Extremely randomised trees predict the normal scores of the metric and the loss at each epoch. What they leave
    unexplained of the nearest row is added, so that curves keep their noise, and early values mislead as much as those
    of the table. A second forest decides where runs diverge; there, the nearest diverging row answers.
    """

    def __init__(self, table: CurveTable) -> None:
        self._table = table
        self._features = table.cube.features(table.points)
        self._diverges = table.dead_from <= table.epochs
        sound = ~self._diverges
        self._curves = [np.sort(curves[sound], axis=0) for curves in (table.metric, table.loss)]
        ranks = [rankdata(curves[sound], axis=0) for curves in (table.metric, table.loss)]
        scores = ndtri((np.concatenate(ranks, axis=1) - 0.5) / sound.sum())
        self._scores = ExtraTreesRegressor(_TREES, min_samples_leaf=3, random_state=0)
        self._scores.fit(self._features[sound], scores)
        self._rest = scores - self._scores.predict(self._features[sound])
        self._risk = ExtraTreesClassifier(_TREES, min_samples_leaf=2, random_state=0)
        self._risk.fit(self._features, self._diverges)

    def at(self, point: Floats) -> tuple[Floats, Floats, Floats]:
        """Return metric, loss and seconds of each epoch at a point of the cube."""
        table, features = self._table, self._table.cube.features(point[None])
        apart = np.linalg.norm(self._features - features, axis=1)
        if self._diverges.any() and self._risk.predict_proba(features)[0, 1] > 0.5:
            row = int(np.argmin(np.where(self._diverges, apart, np.inf)))
            return table.metric[row], table.loss[row], table.seconds[row]
        nearest = int(np.argmin(apart[~self._diverges]))
        shares = ndtr(self._scores.predict(features)[0] + self._rest[nearest]).reshape(2, table.epochs)
        metric, loss = (_quantiles(curves, share) for curves, share in zip(self._curves, shares, strict=True))
        return metric, loss, table.seconds[np.flatnonzero(~self._diverges)[nearest]]


def _quantiles(ascending: Floats, shares: Floats) -> Floats:
    """Return the quantile of each column at its share, linear between the sorted values and beyond their ends."""
    number, epochs = ascending.shape
    position = shares * number - 0.5
    low = np.clip(np.floor(position).astype(int), 0, number - 2)
    below, above = ascending[low, np.arange(epochs)], ascending[low + 1, np.arange(epochs)]
    values: Floats = below + (position - low) * (above - below)
    return values


@dataclass(frozen=True, kw_only=True)
class _Answers(CurveTable):
    """Table with a row for each proposal, empty until it is made."""

    original: CurveTable
    ends: NDArray[np.int64]
    """`dead_from` of the rows."""

    @cached_property
    def dead_from(self) -> NDArray[np.int64]:
        return self.ends

    @cached_property
    def full_run_s(self) -> float:
        return self.original.full_run_s

    def regret(self, row: int | None) -> float:
        """Return the regret of a row's final metric on the scale of the original table."""
        best, median = float(self.original.final.max()), float(np.median(self.original.final))
        value = -np.inf if row is None else float(np.nan_to_num(self.metric[row, -1], nan=-np.inf))
        return float(np.clip((best - value) / (best - median), 0.0, 1.0))


class _Proposals(Pool):
    """Pool that trains a proposal as it is."""

    def __init__(self, table: _Answers, model: CurveModel) -> None:
        self._table = table
        self._model = model
        self._next = 0

    @property
    def empty(self) -> bool:
        return self._next == self._table.num_configurations

    def nearest(self, point: Floats) -> int:
        """Answer a point in the next row, and return it."""
        table, row = self._table, self._next
        table.points[row] = table.cube.tidy(np.asarray(point, float)[None])[0]
        curves = self._model.at(table.points[row])
        for kept, curve in zip((table.metric, table.loss, table.seconds), curves, strict=True):
            kept[row] = curve
        metric, loss, seconds = (curve[None] for curve in curves)
        alone = replace(table.original, points=table.points[row][None], metric=metric, loss=loss, seconds=seconds)
        table.ends[row] = alone.dead_from[0]
        return row

    def take(self, row: int) -> None:
        self._next = row + 1


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tables", type=Path, nargs="+", metavar="FOLDER", help="npz files, or folders of them")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="METHOD")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    files = list(chain.from_iterable(sorted(p.glob("*.npz")) if p.is_dir() else [p] for p in options.tables))
    found: dict[str, dict[str, dict[Path, list[Floats]]]] = {}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for file in files:
            for method in options.methods:
                of_method = found.setdefault(file.parent.name, {}).setdefault(method, {})
                of_method[file] = list(pool.map(partial(_searched_file, file, method), range(options.seeds)))
    for family, methods in found.items():
        _write(f"{family}\n\n{_table(methods)}\n")


def searched(original: CurveTable, model: CurveModel, method: str, seed: int) -> Floats:
    """Return the regret at `PERCENTS`, the share of dead epochs, and the numbers of trials and of complete ones."""
    metric, loss, seconds = np.zeros((3, _MOST_TRIALS, original.epochs))
    table = _Answers(
        name=original.name,
        points=np.zeros((_MOST_TRIALS, original.points.shape[1])),
        choices=original.choices,
        conditions=original.conditions,
        warm_up_epochs=original.warm_up_epochs,
        original=original,
        ends=np.zeros(_MOST_TRIALS, np.int64),
        metric=metric,
        loss=loss,
        seconds=seconds,
    )
    tuner = factory(method)(table, _Proposals(table, model), seed_of(original.name, seed), WORKERS)
    told = measures(table, replay(table, tuner, workers=WORKERS, budget=BUDGET, checkpoints=PERCENTS))
    regret = (told["regret"][str(percent)] for percent in PERCENTS)
    return np.array([*regret, told["dead_epoch_share"], told["trials"], told["full_runs"]])


def _searched_file(file: Path, method: str, seed: int) -> Floats:
    return searched(*_modelled(file), method, seed)


@cache
def _modelled(file: Path) -> tuple[CurveTable, CurveModel]:
    table = load(file, default="none", cost="seconds")
    return table, CurveModel(table)


def _table(methods: dict[str, dict[Path, list[Floats]]]) -> str:
    against = (f"minus Ray at {percent} %" for percent in _COMPARED)
    headers = ["method", *(f"{percent} %" for percent in PERCENTS), *against, "dead", "trials"]
    rows = []
    for method, by_file in methods.items():
        mean = np.mean([np.mean(runs, axis=0) for runs in by_file.values()], axis=0)
        minus = ["" if method == _AGAINST else _difference(by_file, methods.get(_AGAINST, {}), at) for at in _COMPARED]
        shown = [f"{value:.3f}" for value in mean[: len(PERCENTS)]]
        rows.append([method, *shown, *minus, f"{mean[-3]:.1%}", f"{mean[-2]:.0f}"])
    return as_markdown(headers, rows)


def _difference(one: dict[Path, list[Floats]], other: dict[Path, list[Floats]], percent: int) -> str:
    at = PERCENTS.index(percent)
    pairs = {
        file.stem: [a[at] - b[at] for a, b in zip(runs, other[file], strict=True)]
        for file, runs in one.items()
        if file in other
    }
    if not pairs:
        return ""
    found = bootstrap(pairs)
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
