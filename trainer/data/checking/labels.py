"""Check one label file row by row: read its boxes, and report the flaws of its rows.

The rules are those of ultralytics 8.4.190 (`ultralytics.data.utils.verify_image_label`), which skips the whole image
for one wrong row and writes that to a log. This module names each row. `test_labels.py` compares the two.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from trainer.data.checking.label_forms import NO_FORM, Form, are_turned_boxes, form_of, keypoints_with_visibility

TOLERANCE = 0.01
"""Distance that boxes may extend beyond 0 and 1, for rounding by labelling tools."""

NEAR_DUPLICATE_IOU = 0.8
"""Maximum overlap of two boxes of one class; above it, they are most likely one object that was labelled twice."""

_BOX_COLUMNS = 5
_LARGEST_SHARE = 2
"""Largest value that can still be a fraction slightly out of range; a larger one is in pixels."""


class RowFlaw(StrEnum):
    """Flaws of a row."""

    UNREADABLE = "a file that cannot be read"
    ENCODING = "not UTF-8 text"
    COLUMNS = "neither a box of 5 columns nor an outline"
    SIXTH_COLUMN = "a box with a sixth column"
    KEYPOINTS = "a box with keypoints"
    NUMBER = "not a finite number"
    CLASS_NAME = "a class by its name"
    CLASS_ID = "no class of the data set"
    RANGE = "outside 0 to 1"
    PIXELS = "pixels for shares"
    MIXED = "boxes and outlines in one file"
    ZERO_SIZE = "no width or no height"
    BEYOND_BORDER = "reaches beyond the image"
    DUPLICATE = "the same as an earlier row"
    NEAR_DUPLICATE = "nearly the same as an earlier row"
    OUTLINES = "outlines"
    TURNED_BOXES = "boxes by their four corners"

    @property
    def loses_image(self) -> bool:
        """True if the whole image cannot be trained on, including its other boxes."""
        return self in _LOSES_IMAGE


_LOSES_IMAGE = frozenset(
    {RowFlaw.UNREADABLE, RowFlaw.ENCODING, RowFlaw.COLUMNS, RowFlaw.NUMBER}
    | {RowFlaw.CLASS_ID, RowFlaw.RANGE, RowFlaw.MIXED}
    | {RowFlaw.SIXTH_COLUMN, RowFlaw.KEYPOINTS, RowFlaw.CLASS_NAME, RowFlaw.PIXELS}
)


class Box(NamedTuple):
    """A box as it is trained on: for an outline, the box around it."""

    line: int
    """Line in the label file, counted from 1."""
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
    """A flaw and its place in a label file."""

    line: int
    """Line counted from 1; 0 for the whole file."""
    flaw: RowFlaw
    value: str
    """Text found there, or the line that the row repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Boxes and flaws of a label file."""

    boxes: tuple[Box, ...]
    """Boxes of the rows without a flaw that loses the box, in order."""
    flaws: tuple[FlawedRow, ...]
    """Flaws in the order of the lines."""
    form: Form = NO_FORM
    """Common form of the rows that are not boxes."""


def read_labels(content: bytes, num_classes: int, keypoint_columns: int = 0) -> Labels:
    """Check each row of a label file.

    Args:
        content: content of the file: rows `class x_center y_center width height`, or `class x1 y1 x2 y2 x3 y3 ...`,
            with coordinates as fractions of the image's width and height. Empty rows are skipped.
        num_classes: number of classes; class ids are integers from 0 to `num_classes` - 1.
        keypoint_columns: number of columns that may follow a box; they are ignored, as ultralytics does for a detector.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Labels(boxes=(), flaws=(FlawedRow(line, RowFlaw.ENCODING, f"byte {content[error.start]:#04x}"),))
    boxes: list[Box] = []
    flaws: list[FlawedRow] = []
    seen: dict[tuple[float, ...], int] = {}
    outlines: list[tuple[float, ...]] = []
    for number, words in enumerate(map(str.split, lines), start=1):
        if not words:
            continue
        if keypoint_columns and len(words) == _BOX_COLUMNS + keypoint_columns:
            words = words[:_BOX_COLUMNS]
        row = _judged(number, words, num_classes)
        if isinstance(row, FlawedRow):
            flaws.append(row)
            continue
        values = tuple(map(float, words))
        if len(values) > _BOX_COLUMNS:
            outlines.append(values[1:])
        flaws += _blemishes(row)
        first = seen.setdefault(values, number)
        if first != number:
            flaws.append(FlawedRow(number, RowFlaw.DUPLICATE, f"line {first}"))
        elif row.width > 0 and row.height > 0:
            boxes.append(row)
    flaws += _of_outlines(outlines, are_all=all(len(values) > _BOX_COLUMNS for values in seen))
    flaws += _near_duplicates(boxes)
    return Labels(boxes=tuple(boxes), flaws=tuple(sorted(flaws)), form=form_of(outlines))


def _of_outlines(outlines: Sequence[Sequence[float]], *, are_all: bool) -> Iterator[FlawedRow]:
    """Yield the flaw of a file with outlines: mixed with boxes, rotated boxes or outlines."""
    if outlines and not are_all:
        yield FlawedRow(0, RowFlaw.MIXED, "")
    elif outlines:
        flaw = RowFlaw.TURNED_BOXES if are_turned_boxes(outlines) else RowFlaw.OUTLINES
        yield FlawedRow(0, flaw, f"{len(outlines)} rows")


def _judged(line: int, words: Sequence[str], num_classes: int) -> Box | FlawedRow:
    """Return the box of a row, or the flaw that loses it."""
    is_outline = len(words) > _BOX_COLUMNS + 1 and len(words) % 2 == 1
    if points := keypoints_with_visibility(words):
        return FlawedRow(line, RowFlaw.KEYPOINTS, f"{points} keypoints of 3 values")
    if len(words) == _BOX_COLUMNS + 1:
        return FlawedRow(line, RowFlaw.SIXTH_COLUMN, words[-1])
    if len(words) != _BOX_COLUMNS and not is_outline:
        return FlawedRow(line, RowFlaw.COLUMNS, _columns(words))
    values: list[float] = []
    for word in words:
        value = _number(word)
        if value is None:
            is_name = not values and word[0].isalpha() and _number(words[1]) is not None and not _is_number(word)
            return FlawedRow(line, RowFlaw.CLASS_NAME if is_name else RowFlaw.NUMBER, word)
        values.append(value)
    class_id, *coordinates = values
    if class_id % 1 or not 0 <= class_id < num_classes:
        return FlawedRow(line, RowFlaw.CLASS_ID, words[0])
    if is_outline:
        coordinates = _around(coordinates)
    wrong = [value for value in coordinates if not -TOLERANCE <= value <= 1 + TOLERANCE]
    wrong += [size for size in coordinates[2:] if size < 0]
    if wrong:
        flaw = RowFlaw.PIXELS if max(coordinates) > _LARGEST_SHARE else RowFlaw.RANGE
        return FlawedRow(line, flaw, f"{wrong[0]:g}")
    x_center, y_center, width, height = coordinates
    return Box(line, int(class_id), x_center, y_center, width, height)


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is_number(word: str) -> bool:
    """Check whether a word is a number; infinity and NaN count as numbers."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _columns(words: Sequence[str]) -> str:
    if len(words) == 1 and any(mark in words[0] for mark in ",;"):
        return "one column, with commas"
    if len(words) in (9, 10) and all(map(_is_number, words[:8])) and not _is_number(words[8]):
        return f"{len(words)} columns, as in DOTA"
    return f"{len(words)} columns"


def _around(points: Sequence[float]) -> list[float]:
    """Return centre, width and height of the box around an outline."""
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
    """Yield the later one of any two boxes of one class that nearly coincide."""
    found: dict[int, int] = {}
    ordered = sorted(boxes, key=lambda box: box.left)
    for number, box in enumerate(ordered):
        # A box that begins further to the right cannot overlap this one enough.
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
    """Return the intersection over union, 0 to 1."""
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / (one.width * one.height + other.width * other.height - both)
