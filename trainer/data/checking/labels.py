"""One label file, row by row: the boxes that it gives, and what is wrong with the rows that give none.

The rules are those of ultralytics 8.4.190 (`ultralytics.data.utils.verify_image_label`), which leaves the whole image
out for one wrong row and says so in a log. Here each row is named. `test_labels.py` holds the two side by side.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from trainer.data.checking.label_forms import NO_FORM, Form, are_turned_boxes, form_of, keypoints_with_visibility

TOLERANCE = 0.01
"""Boxes may reach so far beyond 0 and 1: rounding by labelling tools."""

NEAR_DUPLICATE_IOU = 0.8
"""Two boxes of one class that overlap by more are most likely one object that was labelled twice."""

_BOX_COLUMNS = 5
_LARGEST_SHARE = 2
"""No share that is only a little out of place is larger: what is, is a number of pixels."""


class RowFlaw(StrEnum):
    """What can be wrong with a row."""

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
        """Whether the whole image cannot be trained on for it, its other boxes neither."""
        return self in _LOSES_IMAGE


_LOSES_IMAGE = frozenset(
    {RowFlaw.UNREADABLE, RowFlaw.ENCODING, RowFlaw.COLUMNS, RowFlaw.NUMBER}
    | {RowFlaw.CLASS_ID, RowFlaw.RANGE, RowFlaw.MIXED}
    | {RowFlaw.SIXTH_COLUMN, RowFlaw.KEYPOINTS, RowFlaw.CLASS_NAME, RowFlaw.PIXELS}
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
    form: Form = NO_FORM
    """What its rows have in common that are no boxes."""


def read_labels(content: bytes, num_classes: int, keypoint_columns: int = 0) -> Labels:
    """Judge each row of a label file.

    Args:
        content: of the file: rows `class x_center y_center width height`, or `class x1 y1 x2 y2 x3 y3 ...`, where
            coordinates are shares of the image's width and height. Empty rows are skipped.
        num_classes: class ids are whole numbers from 0 to one less than that.
        keypoint_columns: that may follow a box; they are passed over, as ultralytics does for a detector.
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
    """What a file is said to be that holds outlines, and nothing but them or not."""
    if outlines and not are_all:
        yield FlawedRow(0, RowFlaw.MIXED, "")
    elif outlines:
        flaw = RowFlaw.TURNED_BOXES if are_turned_boxes(outlines) else RowFlaw.OUTLINES
        yield FlawedRow(0, flaw, f"{len(outlines)} rows")


def _judged(line: int, words: Sequence[str], num_classes: int) -> Box | FlawedRow:
    """The box of a row, or why there is none."""
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
    """Infinity and NaN are, too."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _columns(words: Sequence[str]) -> str:
    if len(words) == 1 and any(mark in words[0] for mark in ",;"):
        return "one column, with commas"
    if len(words) in (9, 10) and all(map(_is_number, words[:8])) and not _is_number(words[8]):
        return f"{len(words)} columns, as DOTA has them"
    return f"{len(words)} columns"


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
