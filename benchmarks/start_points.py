"""Train starting points on a CPU, next to the default configuration and random ones.

    python -m benchmarks.start_points train RESULTS.jsonl   # continues if interrupted
    python -m benchmarks.start_points report RESULTS.jsonl

Two data sets, two models from random weights, two seeds; the space is `full` with small images and batches.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, product, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.digits import compose_digits
from trainer.data.sample.sample import compose
from tuner.contract import EndRecord, EpochRecord, Params, PreparedRecord, TrainRequest
from tuner.execution.prepare import prepared_by
from tuner.execution.trainer_process import TrainerProcess
from tuner.search.start_points import SHARE, start_points
from tuner.space import (
    Space,
    UnitCube,
    find_space,
    load_space,
    shipped_start_points,
    start_point_of,
    with_fixed,
)

MODELS = ("yolov8n.yaml", "mamba-yolo-n")
DATA = ("products", "digits")
SEEDS = (0, 1)
EPOCHS = 18
FIXED = ("imgsz=96", "batch=8", "nbs=8")
"""An optimizer step after each batch: a larger `nbs` leaves too few steps in so short a run."""

DEFAULT, RANDOM = "default", "random-"

_TRAINER = (sys.executable, "-m", "trainer", "serve")
_TRAIN, _VAL, _PIXELS = 128, 128, 128


@dataclass(frozen=True, kw_only=True)
class Run:
    """Training of one configuration."""

    data: str
    model: str
    contestant: str
    """`DEFAULT`, the name of a starting point, or `RANDOM` and a number."""
    seed: int
    params: Params

    @property
    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "report"))
    parser.add_argument("results", type=Path, metavar="RESULTS.jsonl")
    parser.add_argument("--folder", type=Path, default=Path("build/start_points"), help="data sets and runs")
    options = parser.parse_args()
    if options.action == "train":
        _train(options.results, options.folder.absolute())
    else:
        _report(_read(options.results))


def runs() -> list[Run]:
    """Return all trainings, ordered so that any first part of them is balanced."""
    space = with_fixed(load_space(find_space("full", Path.cwd())), FIXED)
    points = shipped_start_points("detectors")
    settings = replace(space.settings, start_points=points, trials=SHARE * len(points))
    starts = start_points(replace(space, settings=settings))
    named = {start_point_of(start.candidate.origin): space.resolve(start.configuration) for start in starts}
    default = {DEFAULT: space.resolve(space.baseline_sampled())}
    found = []
    for number, (data, model) in enumerate(product(DATA, MODELS)):
        drawn = _random(space, number, len(named))
        mixed = chain.from_iterable(zip(named.items(), drawn.items(), strict=True))
        found.append([(data, model, name, params) for name, params in (*default.items(), *mixed)])
    return [
        Run(data=data, model=model, contestant=name, seed=seed, params=params)
        for seed in SEEDS
        for data, model, name, params in chain.from_iterable(zip_longest(*found))
    ]


def _random(space: Space, seed: int, number: int) -> dict[str, Params]:
    cube = UnitCube(space)
    points = cube.cube.random(np.random.default_rng(seed), number)
    return {f"{RANDOM}{index}": space.resolve(cube.sampled(point)) for index, point in enumerate(points)}


def _train(results: Path, folder: Path) -> None:
    done = {row["key"] for row in _read(results)}
    left = [run for run in runs() if run.key not in done]
    trainer = TrainerProcess(_TRAINER, error_log=results.with_suffix(".log"))
    prepared = {(data, model): _prepared(data, model, folder) for data, model in product(DATA, MODELS)}
    try:
        for number, run in enumerate(left):
            began_s = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder) as place:
                metrics = _trained(trainer, run, prepared[run.data, run.model], place)
            row = {**asdict(run), "key": run.key, "metrics": metrics, "seconds": round(time.monotonic() - began_s, 1)}
            with results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            _say(f"{number + 1}/{len(left)} {run.data} {run.model} {run.contestant} seed {run.seed}: {metrics}")
    finally:
        trainer.close()


def _trained(trainer: TrainerProcess, run: Run, prepared: PreparedRecord, place: str) -> Mapping[str, float] | None:
    """Return the metrics after the last epoch; None if the run failed."""
    request = TrainRequest(
        study="start-points",
        trial=0,
        params=run.params,
        model=prepared.model,
        data=prepared.data,
        epochs=EPOCHS,
        stop_epoch=EPOCHS,
        validation_epochs=(EPOCHS,),
        seed=run.seed,
        devices=(),
        threads=1,
        directory=place,
    )
    metrics = None
    trainer.send(request)
    while True:
        for record in trainer.receive(timeout_s=5.0):
            if isinstance(record, EpochRecord) and record.epoch == EPOCHS:
                metrics = record.metrics
            if isinstance(record, EndRecord):
                return metrics


def _prepared(data: str, model: str, folder: Path) -> PreparedRecord:
    source = folder / data
    if data == "products":
        file = compose(source, train_images=_TRAIN, val_images=_VAL, image_size=_PIXELS, seed=1)
    else:
        file = compose_digits(source, train_images=_TRAIN, val_images=_VAL)
    place = folder / f"{data}-{Path(model).stem}"
    place.mkdir(parents=True, exist_ok=True)
    return prepared_by(_TRAINER, str(file), model, place)


Cell = tuple[str, str, int]
"""Data set, model and seed."""


def by_cell(rows: Sequence[Mapping[str, Any]]) -> dict[Cell, dict[str, float]]:
    """Return the mAP50-95 of each contestant by cell; 0 for a run that failed."""
    cells: dict[Cell, dict[str, float]] = {}
    for row in rows:
        value = 0.0 if row["metrics"] is None else row["metrics"]["mAP50-95"]
        cells.setdefault((row["data"], row["model"], row["seed"]), {})[row["contestant"]] = value
    return {cell: values for cell, values in cells.items() if DEFAULT in values}


def split(values: Mapping[str, float]) -> tuple[list[float], list[float]]:
    """Return the values of the starting points and of the random configurations, equally many of both, in order."""
    points = [value for name, value in values.items() if name != DEFAULT and not name.startswith(RANDOM)]
    drawn = [value for name, value in values.items() if name.startswith(RANDOM)]
    number = min(len(points), len(drawn))
    return points[:number], drawn[:number]


def fresh(cells: Mapping[Cell, Mapping[str, float]], *, random: bool) -> list[float]:
    """Return the gain over the default on one seed of what was best on the other, default included."""
    gains = []
    for (data, model, seed), values in cells.items():
        for other in (cells.get((data, model, one)) for one in SEEDS if one != seed):
            known = [name for name in values if other and name in other and name.startswith(RANDOM) == random]
            if other and known:
                best = max([DEFAULT, *known], key=lambda name: values[name])
                gains.append(other[best] - other[DEFAULT])
    return gains


def _read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def _report(rows: Sequence[Mapping[str, Any]]) -> None:
    cells = by_cell(rows)
    _say(f"{sum(map(len, cells.values()))} of {len(runs())} runs")
    names = list(dict.fromkeys(name for values in cells.values() for name in values))
    _say(f"{'mAP50-95':16}" + "".join(f"{data[:8]:>9}{model[:6]:>7}/{seed}" for data, model, seed in cells))
    for name in names:
        found = (values.get(name) for values in cells.values())
        _say(f"{name:16}" + "".join(f"{'' if value is None else format(value, '.3f'):>18}" for value in found))
    defaults = [values[DEFAULT] for values in cells.values()]
    for kind, index in (("starting points", 0), ("random", 1)):
        tried = [split(values)[index] for values in cells.values()]
        better = [value > default for values, default in zip(tried, defaults, strict=True) for value in values]
        _say(f"{kind}: {sum(better)} of {len(better)} better than the default")
        for k in range(1, min(map(len, tried), default=0) + 1):
            gains = [max(values[:k]) - default for values, default in zip(tried, defaults, strict=True)]
            _say(f"  best of the first {k}, minus the default: {np.mean(gains):+.4f} (mean of {len(gains)} cells)")
        later = fresh(cells, random=kind == "random")
        if later:
            _say(f"  best of these and the default on one seed, on the other: {np.mean(later):+.4f} over the default")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
