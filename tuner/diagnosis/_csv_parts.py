"""Split a results.csv into parts with one set of columns each; a resumed run appends to the file of the old one."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise

from tuner.diagnosis.columns import usual_orders
from tuner.exceptions import UsageError
from tuner.system.printable import printable

MOST_EPOCHS = 100_000
"""More epochs than any schedule has; a higher number is not an epoch."""

_OURS = ("train/", "metrics/")
_SHOWN = 60  # characters of a value repeated in a message
_ENOUGH_ROWS = 3
"""Minimum number of rows to recognise a column by its values."""
_MOST_TOLD = 3
_MORE_RATES = 3
"""Maximum difference in the number of parameter groups between two versions."""
_MISSING = frozenset({"", "-", "na", "n/a", "none", "null"})
_BY_C = {"1.#inf": math.inf, "-1.#inf": -math.inf, "1.#qnan": math.nan, "-1.#ind": math.nan, "-nan(ind)": math.nan}
"""NaN and infinity as the C runtime of Windows writes them."""
_SHARE = re.compile(r"metrics/.*(mAP|precision|recall|accuracy|IoU).*")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file, the values of one epoch."""

    line: int
    epoch: int
    """As written; some trainers count from 0."""
    cells: Mapping[str, float]
    """Values by column, without the empty cells."""

    @property
    def time_s(self) -> float | None:
        """Seconds since the program started; None if missing, negative or not finite."""
        time = self.cells.get("time", math.nan)
        return time if math.isfinite(time) and time >= 0 else None


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows with the same columns."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    is_named: bool
    """True if a header line names the columns; False if they were recognised by their values."""

    @property
    def filled(self) -> tuple[str, ...]:
        """Columns with at least one value."""
        return tuple(name for name in self.names if any(name in row.cells for row in self.rows))


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    cells: tuple[str, ...]


def parts_of_csv(text: str, file: str) -> tuple[tuple[Part, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the parts in order, the lines with unknown columns, and the lines that were skipped.

    Args:
        text: the content of the file.
        file: the name of the file for error messages.

    Raises:
        UsageError: the text is not a results.csv, or more than half of its lines cannot be read.
    """
    lines = list(_lines(text))
    if not lines or not _is_header(lines[0]) or not any(name.startswith(_OURS) for name in lines[0].cells):
        first = next((line for line in text.splitlines() if line.strip(" \0")), "")
        raise UsageError(
            f"{file}:1: A results.csv must begin with the columns epoch, train/... and metrics/..., "
            f"but got {_shown(first)}; give the file that ultralytics wrote."
        )
    parts: list[Part] = []
    unknown: list[str] = []
    broken: dict[int, str] = {}
    for names, width, rows in _sections(lines):
        order = names if width == len(names) else _order_of(names, rows)
        if order is not None:
            parts.append(Part(order, tuple(_readable(order, rows, broken)), is_named=order is names))
            continue
        if len(rows) == 1 or not any(part.rows for part in parts):
            broken |= {line.number: _wrong_width(names, width) for line in rows}
        else:
            where = f"lines {rows[0].number} to {rows[-1].number} of results.csv"
            unknown.append(
                f"the meaning of the {width} values in {where}: the header above them has {len(names)} columns"
            )
    read = sum(len(part.rows) for part in parts)
    return _joined(parts), tuple(unknown), tuple(_left_out(broken, read, lines[-1].number, file))


def _lines(text: str) -> Iterator[_Line]:
    """Yield the lines that are not blank, without empty cells after the last column."""
    width = 0
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip(" \t\0").strip('"') for cell in line.split(",")]
        if not any(cells):
            continue
        if "epoch" in cells:
            width = 0
        while len(cells) > max(width, 1) and not cells[-1]:
            cells.pop()
        width = width or len(cells)
        yield _Line(number, tuple(cells))


def _is_header(line: _Line) -> bool:
    return "epoch" in line.cells


def _sections(lines: list[_Line]) -> Iterator[tuple[tuple[str, ...], int, list[_Line]]]:
    """Yield consecutive lines of one width, with the columns of the header above them."""
    names: tuple[str, ...] = ()
    for is_header, group in groupby(lines, key=_is_header):
        if is_header:
            names = list(group)[-1].cells
            yield names, len(names), []
            continue
        for width, rows in groupby(group, key=lambda line: len(line.cells)):
            yield names, width, list(rows)


def _order_of(names: tuple[str, ...], lines: list[_Line]) -> tuple[str, ...] | None:
    """Return the columns of lines that are wider or narrower than their header; None if they are ambiguous.

    ultralytics writes a header only into a new file, so a later version that resumes the run appends below the old one.
    """
    width = len(lines[0].cells)
    if len(lines) == 1 and width < len(names):  # cut off in the middle of a write
        return None
    later = [order for order in _of_other_versions(names, width) if _fits(order, lines)]
    if len(later) == 1 or (later and len(lines) >= _ENOUGH_ROWS):
        return later[0]
    others = {order for order in usual_orders(width) if _fits(order, lines)}
    return others.pop() if len(others) == 1 and not later and len(lines) >= _ENOUGH_ROWS else None


def _of_other_versions(names: tuple[str, ...], width: int) -> list[tuple[str, ...]]:
    """List the same columns with or without `time` (new in ultralytics 8.3) and with other parameter groups."""
    timeless = tuple(name for name in names if name != "time")
    at = timeless.index("epoch") + 1
    timed = (*timeless[:at], "time", *timeless[at:])
    orders = []
    for order in (timed, names, timeless):
        rest = tuple(name for name in order if not name.startswith("lr/pg"))
        rates, wanted = len(order) - len(rest), width - len(rest)
        if wanted == rates or (wanted > 0 and 0 < abs(wanted - rates) <= _MORE_RATES):
            orders.append((*rest, *(f"lr/pg{group}" for group in range(wanted))))
    return [order for order in dict.fromkeys(orders) if order != names]


def _fits(order: tuple[str, ...], lines: list[_Line]) -> bool:
    """Check whether the values in the lines are possible for these columns."""
    try:
        rows = [_row(order, line) for line in lines]
    except ValueError:
        return False
    times = [row.cells.get("time") for row in rows] if "time" in order else []
    clock = all(before is not None and after is not None and 0 < before < after for before, after in pairwise(times))
    return clock and all(_can_be(name, value) for row in rows for name, value in row.cells.items())


def _can_be(name: str, value: float) -> bool:
    """Check whether a column can hold a value: ratios and learning rates are between 0 and 1."""
    return not (name.startswith("lr/") or _SHARE.fullmatch(name)) or math.isnan(value) or 0 <= value <= 1


def _readable(names: tuple[str, ...], lines: list[_Line], broken: dict[int, str]) -> Iterator[Row]:
    for line in lines:
        try:
            yield _row(names, line)
        except ValueError as error:
            broken[line.number] = str(error)


def _row(names: tuple[str, ...], line: _Line) -> Row:
    cells = dict(_values(names, line.cells))
    epoch = cells.get("epoch", math.nan)
    if not (0 <= epoch <= MOST_EPOCHS and epoch == int(epoch)):
        raise ValueError(f"Epoch must be a whole number from 0 to {MOST_EPOCHS}, but got {epoch:g}")
    return Row(line.number, int(epoch), cells)


def _values(names: tuple[str, ...], cells: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for name, cell in zip(names, cells, strict=True):
        if cell.lower() in _MISSING:
            continue
        try:
            yield name, _BY_C[cell.lower()] if cell.lower() in _BY_C else float(cell)
        except ValueError:
            raise ValueError(f"{printable(name[:_SHOWN])} must be a number, but got {_shown(cell)}") from None


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Merge neighbouring parts that have the same columns."""
    joined: list[Part] = []
    for each in parts:
        part = each
        if joined and (joined[-1].names == part.names or not part.rows or not joined[-1].rows):
            before = joined.pop()
            kept = part if part.rows or not before.rows else before
            part = Part(kept.names, before.rows + part.rows, kept.is_named)
        joined.append(part)
    return tuple(joined)


def _left_out(broken: dict[int, str], read: int, last_line: int, file: str) -> Iterator[str]:
    if len(broken) > max(read, 1):
        line, problem = min(broken.items())
        raise UsageError(f"{file}:{line}: {problem}; remove the lines that the training did not write.")
    if last_line in broken:
        yield f"line {last_line} of results.csv is cut off and was skipped"
        del broken[last_line]
    for line in sorted(broken)[:_MOST_TOLD]:
        yield f"line {line} of results.csv was skipped. {broken[line]}"
    if len(broken) > _MOST_TOLD:
        yield f"{len(broken) - _MOST_TOLD} more lines of results.csv were skipped"


def _wrong_width(names: tuple[str, ...], width: int) -> str:
    return f"A line must have {len(names)} values, one for each column, but got {width}"


def _shown(text: str) -> str:
    text = text.strip()
    return f"'{printable(text[:_SHOWN])}{'…' if len(text) > _SHOWN else ''}'"
