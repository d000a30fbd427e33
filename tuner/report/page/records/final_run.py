"""Read the course of the final run from the files in its folder."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.diagnosis.reading import read_run
from tuner.diagnosis.runs import RunEpoch
from tuner.exceptions import TunerError

TRAINING, VALIDATION = "training", "validation"

_MOST_EPOCHS = 1_000
"""Epochs of a curve; more cannot be told apart and make the page heavy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCurve:
    """Finite values of one loss or metric by epoch."""

    name: str
    split: str
    """`TRAINING` or `VALIDATION`."""
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCourse:
    """Losses and metrics of a run; a curve without finite values is left out."""

    losses: tuple[RunCurve, ...]
    metrics: tuple[RunCurve, ...]
    last_epoch: int


def run_course(folder: Path) -> RunCourse | None:
    """Return the course of the run in a folder; None if nothing is recorded there."""
    try:
        epochs = read_run(folder).epochs
    except TunerError:
        return None
    if not epochs:
        return None
    step = math.ceil(len(epochs) / _MOST_EPOCHS)
    kept = (*epochs[:-1:step], epochs[-1])
    trained = _curves(TRAINING, ((epoch, epoch.train) for epoch in kept))
    validated = _curves(VALIDATION, ((epoch, epoch.val or {}) for epoch in kept))
    metrics = _curves(VALIDATION, ((epoch, epoch.metrics or {}) for epoch in kept))
    return RunCourse(losses=(*trained, *validated), metrics=metrics, last_epoch=epochs[-1].epoch)


def _curves(split: str, values: Iterable[tuple[RunEpoch, Mapping[str, float]]]) -> tuple[RunCurve, ...]:
    points: dict[str, dict[int, float]] = {}
    for epoch, by_name in values:
        for name, value in by_name.items():
            if math.isfinite(value):
                points.setdefault(name, {})[epoch.epoch] = value
    return tuple(
        RunCurve(name=name, split=split, epochs=tuple(curve), values=tuple(curve.values()))
        for name, curve in points.items()
    )
