"""Read the results.csv of ultralytics and related trainers: epochs, kind of columns, and what remains unknown."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tuner.diagnosis._csv_parts import Part, Row, parts_of_csv
from tuner.diagnosis.columns import Columns, Task, columns_of, is_known, loss_of, metric_of, scores
from tuner.diagnosis.runs import RunEpoch
from tuner.system.printable import printable

_MOST_NAMED = 6
_SHOWN = 40  # characters of a column's name
_ENOUGH_EPOCHS = 3
_BY_VALUES = "the columns were identified by their values"
_RATES = ("lr/pg0", "x/lr0", "lr/0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The content of a results.csv."""

    epochs: tuple[RunEpoch, ...]
    columns: Columns
    unknown: tuple[str, ...]
    """Missing or ambiguous information that prevents a full diagnosis, one line each."""
    notes: tuple[str, ...]
    """Skipped lines and merged parts, one line each."""


@dataclass(frozen=True, slots=True)
class _Kept:
    part: Part
    row: Row
    epoch: RunEpoch


def table_of_csv(text: str, file: str, task: Task | None = None) -> Table:
    """Return the epochs in order, the kind of columns, and what was skipped.

    Args:
        text: the content of the file.
        file: the name of the file for error messages.
        task: the task in the run's arguments; the columns do not identify every task.

    Raises:
        UsageError: the text is not a results.csv, or most of its lines cannot be read.
    """
    parts, unknown, left_out = parts_of_csv(text, file)
    last = parts[-1]
    columns = columns_of(last.filled, task)
    kept, again = _kept(parts, columns)
    epochs = tuple(_comparable(one, last) for one in kept)
    notes = (*left_out, *_changes(parts), *again, *(() if left_out or unknown else _gaps(epochs)))
    if kept:
        unknown = (*unknown, *_unknown(last, columns), *_uncounted(epochs))
    highest = _highest_share(epochs, columns)
    if highest > 1:
        unknown = (*unknown, f"the metrics: they must be between 0 and 1, but reach {highest:g}")
        epochs = tuple(replace(epoch, metrics=None) for epoch in epochs)
    return Table(epochs=epochs, columns=columns, unknown=unknown, notes=notes)


def _kept(parts: Sequence[Part], columns: Columns) -> tuple[list[_Kept], list[str]]:
    """Return the valid epochs; rows of a resumed run replace earlier rows of the same epochs."""
    first = min((row.epoch for part in parts for row in part.rows), default=1)
    shift = 1 if first == 0 else 0  # YOLOv5 and the first YOLOv8 count from 0
    kept: list[_Kept] = []
    notes = []
    before: Row | None = None
    for part in parts:
        for row in part.rows:
            epoch, known = row.epoch + shift, len(kept)
            while kept and kept[-1].epoch.epoch >= epoch:
                kept.pop()
            if known > len(kept):
                dropped = f"{known - len(kept)} earlier rows were" if known - len(kept) > 1 else "an earlier row was"
                notes.append(f"line {row.line} of results.csv restarts at epoch {epoch}: {dropped} replaced")
            kept.append(_Kept(part, row, _epoch(row, epoch, _seconds(row, before), columns)))
            before = row
    return kept, notes


def _changes(parts: Sequence[Part]) -> Iterator[str]:
    """Yield one line for each change of columns."""
    if parts[0].rows and not parts[0].is_named:
        yield f"the header of results.csv does not match its rows; {_BY_VALUES}"
    for before, after in pairwise(parts):
        gained = [name for name in after.names if name not in before.names]
        lost = [name for name in before.names if name not in after.names]
        told = "; ".join(f"{how} {_named(names)}" for how, names in (("added", gained), ("removed", lost)) if names)
        unnamed = "" if after.is_named else f" There is no new header; {_BY_VALUES}."
        yield (
            f"the columns of results.csv change at line {after.rows[0].line} ({told or 'different order'}).{unnamed} "
            f"The two parts are epochs {_range(before)} and {_range(after)}"
        )


def _comparable(kept: _Kept, last: Part) -> RunEpoch:
    """Return the epoch, without its losses if they differ from those of the last part and cannot be compared."""
    is_same = kept.part is last or _losses_in(kept.part) == _losses_in(last)
    return kept.epoch if is_same else replace(kept.epoch, train={}, val=None)


def _losses_in(part: Part) -> set[str]:
    return {name for name in part.filled if name.startswith(("train/", "val/"))}


def _unknown(part: Part, columns: Columns) -> Iterator[str]:
    """Yield one line for each piece of information that a diagnosis needs and the columns lack."""
    there = set(part.filled)
    strange = [name for name in part.filled if not is_known(name, columns)]
    if strange:
        yield f"{_named(strange)}: unrecognised {'column' if len(strange) == 1 else 'columns'}"
    for split, what in (("train", "training"), ("val", "validation")):
        losses = {loss_of(name, split) for name in there}
        if not losses & set(columns.losses):
            yield f"the {what} loss: no column holds a known loss"
            continue
        suffix = "_loss" if any(name.endswith("_loss") for name in there) else ""
        missing = [f"{split}/{loss}{suffix}" for loss in columns.losses if loss not in losses]
        if missing:
            yield f"part of the {what} loss: {_named(missing)} is missing"
    metrics = {metric_of(name, columns.task) for name in there}
    if columns.task is Task.DETECT:
        yield from (f"{name}: the column is missing" for name in scores(columns.task) if name not in metrics)


def _uncounted(epochs: Sequence[RunEpoch]) -> Iterator[str]:
    """Yield a line for losses that were not computed, which some trainers write as 0."""
    for what, parts in (("training", [e.train for e in epochs]), ("validation", [e.val or {} for e in epochs])):
        values = [value for losses in parts for value in losses.values()]
        if len(epochs) >= _ENOUGH_EPOCHS and values and not any(values):
            yield f"the {what} loss: it is 0 in every epoch"


def _highest_share(epochs: Sequence[RunEpoch], columns: Columns) -> float:
    """Return the highest score of a run; above 1 the trainer probably writes percent."""
    metrics = [epoch.metrics or {} for epoch in epochs]
    values = [found.get(name, 0.0) for found in metrics for name in scores(columns.task)]
    return max((value for value in values if math.isfinite(value)), default=0.0)


def _gaps(epochs: Sequence[RunEpoch]) -> Iterator[str]:
    """Yield a line for missing epochs; ultralytics writes no row for an epoch lost to NaN."""
    known = {epoch.epoch for epoch in epochs}
    missing = [epoch for epoch in range(min(known, default=0), max(known, default=0)) if epoch not in known]
    if missing:
        named = ", ".join(map(str, missing[:_MOST_NAMED]))
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        yield f"results.csv has no row for epoch {named}{more}; ultralytics writes no row for an epoch lost to NaN"


def _seconds(row: Row, before: Row | None) -> float | None:
    """Return the duration of an epoch. The clock restarts with the program, so a resume sets it back to 0."""
    if row.time_s is None:
        return None
    if before is None:
        return row.time_s if row.epoch <= 1 else None
    if before.time_s is None or row.epoch != before.epoch + 1:
        return None
    return row.time_s - before.time_s if row.time_s > before.time_s else row.time_s


def _epoch(row: Row, epoch: int, seconds: float | None, columns: Columns) -> RunEpoch:
    metrics = {name: value for column, value in row.cells.items() if (name := metric_of(column, columns.task))}
    return RunEpoch(
        epoch=epoch,
        train=_losses(row, "train"),
        val=_losses(row, "val") or None,
        metrics=metrics or None,
        seconds=seconds,
        learning_rate=next((row.cells[name] for name in _RATES if name in row.cells), None),
    )


def _losses(row: Row, split: str) -> dict[str, float]:
    return {name: value for column, value in row.cells.items() if (name := loss_of(column, split)) is not None}


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(printable(name[:_SHOWN]) for name in names[:_MOST_NAMED]) + more


def _range(part: Part) -> str:
    first, last = part.rows[0].epoch, part.rows[-1].epoch
    return f"{first} to {last}" if last > first else str(first)
