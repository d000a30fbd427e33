"""One label file, row by row: the boxes that it gives, and what is wrong with the rows that give none.

The rules are those of ultralytics 8.4.190 (`ultralytics.data.utils.verify_image_label`), which leaves the whole picture
out for one wrong row and says so in a log. Here each row is named. `test_labels.py` holds the two side by side.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

TOLERANCE = 0.01
"""Boxes may reach so far beyond 0 and 1: rounding by labelling tools."""

NEAR_DUPLICATE_IOU = 0.8
"""Two boxes of one class that overlap by more are most likely one object that was labelled twice."""

_BOX_COLUMNS = 5


class RowFlaw(StrEnum):
    """What can be wrong with a row."""

    UNREADABLE = "a file that cannot be read"
    ENCODING = "not UTF-8 text"
    COLUMNS = "neither a box of 5 columns nor an outline"
    NUMBER = "not a finite number"
    CLASS_ID = "no class of the data set"
    RANGE = "outside 0 to 1"
    MIXED = "boxes and outlines in one file"
    ZERO_SIZE = "no width or no height"
    BEYOND_BORDER = "reaches beyond the picture"
    DUPLICATE = "the same as an earlier row"
    NEAR_DUPLICATE = "nearly the same as an earlier row"

    @property
    def loses_picture(self) -> bool:
        """Whether ultralytics leaves out the whole picture for it, its other boxes too."""
        return self in _LOSES_PICTURE

    @property
    def loses_box(self) -> bool:
        """Whether the row is no box that should be trained on."""
        return self.loses_picture or self in {RowFlaw.ZERO_SIZE, RowFlaw.DUPLICATE}


_LOSES_PICTURE = frozenset(
    {RowFlaw.UNREADABLE, RowFlaw.ENCODING, RowFlaw.COLUMNS, RowFlaw.NUMBER}
    | {RowFlaw.CLASS_ID, RowFlaw.RANGE, RowFlaw.MIXED}
)


class Box(NamedTuple):
    """A box as it is trained on: around the outline, where the row gives one."""

    line: int
    """1-based, in the label file."""
    class_id: int
    x_center: float
    y_center: float
    width: float
    height: float

    @property
    def left(self) -> float:
        return self.x_center - self.width / 2

    @property
    def top(self) -> float:
        return self.y_center - self.height / 2


class FlawedRow(NamedTuple):
    """Where a flaw is."""

    line: int
    """1-based; 0 stands for the whole file."""
    flaw: RowFlaw
    value: str
    """What stands there, or the line that it repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What a label file says."""

    boxes: tuple[Box, ...]
    """The rows without a flaw that loses the box, in their order."""
    flaws: tuple[FlawedRow, ...]
    """In the order of the lines."""

    @property
    def is_usable(self) -> bool:
        """Whether ultralytics trains on the picture."""
        return not any(row.flaw.loses_picture for row in self.flaws)


def read_labels(content: bytes, num_classes: int) -> Labels:
    """Judge each row of a label file.

    Args:
        content: of the file: rows `class x_center y_center width height`, or `class x1 y1 x2 y2 x3 y3 ...`, where
            coordinates are shares of the picture's width and height. Empty rows are skipped.
        num_classes: class ids are whole numbers from 0 to one less than that.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Labels(boxes=(), flaws=(FlawedRow(line, RowFlaw.ENCODING, f"byte {content[error.start]:#04x}"),))
    boxes: list[Box] = []
    flaws: list[FlawedRow] = []
    seen: dict[tuple[float, ...], int] = {}
    kinds = set()
    for number, words in enumerate(map(str.split, lines), start=1):
        if not words:
            continue
        row = _judged(number, words, num_classes)
        if isinstance(row, FlawedRow):
            flaws.append(row)
            continue
        kinds.add(len(words) == _BOX_COLUMNS)
        flaws += _blemishes(row)
        first = seen.setdefault(tuple(map(float, words)), number)
        if first != number:
            flaws.append(FlawedRow(number, RowFlaw.DUPLICATE, f"line {first}"))
        elif row.width > 0 and row.height > 0:
            boxes.append(row)
    if len(kinds) > 1:
        flaws.append(FlawedRow(0, RowFlaw.MIXED, ""))
    flaws += _near_duplicates(boxes)
    return Labels(boxes=tuple(boxes), flaws=tuple(sorted(flaws)))


def _judged(line: int, words: Sequence[str], num_classes: int) -> Box | FlawedRow:
    """The box of a row, or why there is none."""
    is_outline = len(words) > _BOX_COLUMNS + 1 and len(words) % 2 == 1
    if len(words) != _BOX_COLUMNS and not is_outline:
        return FlawedRow(line, RowFlaw.COLUMNS, f"{len(words)} columns")
    values = []
    for word in words:
        value = _number(word)
        if value is None:
            return FlawedRow(line, RowFlaw.NUMBER, word)
        values.append(value)
    class_id, *coordinates = values
    if class_id % 1 or not 0 <= class_id < num_classes:
        return FlawedRow(line, RowFlaw.CLASS_ID, words[0])
    if is_outline:
        coordinates = _around(coordinates)
    wrong = [value for value in coordinates if not -TOLERANCE <= value <= 1 + TOLERANCE]
    wrong += [size for size in coordinates[2:] if size < 0]
    if wrong:
        return FlawedRow(line, RowFlaw.RANGE, f"{wrong[0]:g}")
    x_center, y_center, width, height = coordinates
    return Box(line, int(class_id), x_center, y_center, width, height)


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _around(points: Sequence[float]) -> list[float]:
    """Centre, width and height of the box around an outline."""
    xs, ys = points[::2], points[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]


def _blemishes(box: Box) -> Iterator[FlawedRow]:
    if not box.width > 0 or not box.height > 0:
        yield FlawedRow(box.line, RowFlaw.ZERO_SIZE, f"{box.width:g} x {box.height:g}")
    edges = (box.left, box.top, box.left + box.width, box.top + box.height)
    if beyond := [edge for edge in edges if not -TOLERANCE <= edge <= 1 + TOLERANCE]:
        yield FlawedRow(box.line, RowFlaw.BEYOND_BORDER, f"{beyond[0]:g}")


def _near_duplicates(boxes: Sequence[Box]) -> Iterator[FlawedRow]:
    """The later of each two boxes of one class that overlap nearly whole."""
    found: dict[int, int] = {}
    ordered = sorted(boxes, key=lambda box: box.left)
    for number, box in enumerate(ordered):
        # The overlap of a box that begins further to the right is less than what is left of this one.
        reach = box.left + (1 - NEAR_DUPLICATE_IOU) * box.width
        for other in ordered[number + 1 :]:
            if other.left > reach:
                break
            if other.class_id == box.class_id and _iou(box, other) > NEAR_DUPLICATE_IOU:
                earlier, later = sorted((box.line, other.line))
                found[later] = min(earlier, found.get(later, earlier))
    for later, earlier in found.items():
        yield FlawedRow(later, RowFlaw.NEAR_DUPLICATE, f"line {earlier}")


def _iou(one: Box, other: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (one.width * one.height + other.width * other.height - both)
