"""ultralytics' results.csv -> epochs. It is appended to while a run trains, and again when one is resumed."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tuner.diagnosis.runs import RunEpoch
from tuner.exceptions import UsageError
from tuner.printable import printable

MOST_EPOCHS = 100_000
"""More than any schedule; what lies beyond is no epoch."""

_METRICS = {
    "metrics/mAP50-95": "mAP50-95",
    "metrics/mAP50": "mAP50",
    "metrics/precision": "precision",
    "metrics/recall": "recall",
    "metrics/mAP_0.5:0.95": "mAP50-95",  # YOLOv5's names
    "metrics/mAP_0.5": "mAP50",
}
_SHOWN = 60  # characters of a value repeated in a message


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    epoch: int
    time_s: float | None
    """Seconds since the program began."""
    cells: Mapping[str, float]


def epochs_of_csv(text: str, file: str) -> tuple[tuple[RunEpoch, ...], tuple[str, ...]]:
    """The epochs in their order, and what was left out, one line each.

    Args:
        file: how to name the file in an error.

    Raises:
        UsageError: it is no results.csv, or a line before the last is broken.
    """
    rows, notes = _rows(text, file)
    first = min((row.epoch for row in rows), default=1)
    shift = 1 if first == 0 else 0  # YOLOv5 and the first YOLOv8 count from 0
    kept: list[RunEpoch] = []
    before: _Row | None = None
    for row in rows:
        while kept and kept[-1].epoch >= row.epoch + shift:  # a resume: what it trains again counts
            kept.pop()
        kept.append(_epoch(row, row.epoch + shift, _seconds(row, before)))
        before = row
    return tuple(kept), notes


def _rows(text: str, file: str) -> tuple[list[_Row], tuple[str, ...]]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip(" \0")]
    names = [name.strip() for name in lines[0][1].split(",")] if lines else []
    if "epoch" not in names or not any(name.startswith(("train/", "metrics/")) for name in names):
        raise UsageError(
            f"{file}:1: A results.csv must begin with the columns epoch, train/... and metrics/..., "
            f"but got {_shown(lines[0][1] if lines else '')}; name the file that ultralytics wrote."
        )
    rows = []
    for place, (number, line) in enumerate(lines[1:], start=2):
        try:
            rows.append(_row(names, number, line))
        except ValueError as error:
            if place == len(lines):
                return rows, (f"line {number} of results.csv is cut off and left out",)
            raise UsageError(f"{file}:{number}: {error}; remove the line.") from error
    return rows, ()


def _row(names: list[str], number: int, line: str) -> _Row:
    cells = [cell.strip(" \t\0") for cell in line.split(",")]
    if len(cells) != len(names):
        raise ValueError(f"A row must have {len(names)} values as the first line has, but got {len(cells)}")
    figures = dict(_figures(names, cells))
    epoch = figures.get("epoch", math.nan)
    if not (0 <= epoch <= MOST_EPOCHS and epoch == int(epoch)):
        raise ValueError(f"An epoch must be a whole number from 0 to {MOST_EPOCHS}, but got {epoch:g}")
    time = figures.get("time")
    return _Row(number, int(epoch), time if time is not None and math.isfinite(time) else None, figures)


def _figures(names: list[str], cells: list[str]) -> Iterator[tuple[str, float]]:
    for name, cell in zip(names, cells, strict=True):
        if cell:
            try:
                yield name, float(cell)
            except ValueError:
                raise ValueError(f"{printable(name[:_SHOWN])} must be a number, but got {_shown(cell)}") from None


def _seconds(row: _Row, before: _Row | None) -> float | None:
    """What the epoch took. The clock begins anew with each program, so after a resume it is behind."""
    if row.time_s is None or row.time_s < 0:
        return None
    if before is None:
        return row.time_s if row.epoch <= 1 else None
    if before.time_s is None or row.epoch != before.epoch + 1:
        return None
    return row.time_s - before.time_s if row.time_s > before.time_s else row.time_s


def _epoch(row: _Row, epoch: int, seconds: float | None) -> RunEpoch:
    metrics = {_METRICS[_bare(name)]: value for name, value in row.cells.items() if _bare(name) in _METRICS}
    return RunEpoch(
        epoch=epoch,
        train=_losses(row.cells, "train/"),
        val=_losses(row.cells, "val/") or None,
        metrics=metrics or None,
        seconds=seconds,
        learning_rate=row.cells.get("lr/pg0"),
    )


def _losses(cells: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix).removesuffix("_loss"): value
        for name, value in cells.items()
        if name.startswith(prefix) and name.endswith("_loss")
    }


def _bare(name: str) -> str:
    """Without the mark of boxes; those of masks (M) and poses (P) are other metrics."""
    return name.removesuffix("(B)")


def _shown(text: str) -> str:
    text = text.strip()
    return f"'{printable(text[:_SHOWN])}{'…' if len(text) > _SHOWN else ''}'"
