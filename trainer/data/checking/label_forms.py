"""Labels of another task than boxes, recognised by what their rows have in common.

ultralytics takes every row of more than six columns for an outline, unless the YAML says `kpt_shape`. So a box followed
by keypoints becomes an outline through the box's centre, and what is trained on is no object at all.
"""

from collections.abc import Sequence
from typing import NamedTuple

_BOX_COLUMNS = 5
_LEAST_ROWS = 3
"""Fewer say nothing."""
_MOST_ALIKE = 0.95
"""The part of the rows that must look like keypoints."""
_MARGIN = 0.1
"""Keypoints may lie so far outside of their box, as a part of its sides: labelling tools differ."""
_LEAST_SPREAD = 0.25
"""Of the keypoints, as a part of the box: those of an outline read as keypoints lie close together."""
_PARALLEL = 0.02
"""How far the fourth corner may be from where three others put it: rounding, and labelling by hand."""
_TURNED = 0.05
"""A side of a turned box goes more than this across while it goes 1 along: three degrees."""


class Form(NamedTuple):
    """What the rows of one or more label files have in common that are no boxes."""

    rows: int = 0
    """Rows that tell something: outlines, or boxes with keypoints of which some are labelled."""
    columns: int = 0
    """That each has; -1 where they differ."""
    poses: int = 0
    """Rows that read as a box and points within it."""

    @property
    def keypoints(self) -> int:
        """How many follow each box, of two values each; 0 where the rows are none of that kind."""
        if self.columns < 0 or self.rows < _LEAST_ROWS or self.poses < _MOST_ALIKE * self.rows:
            return 0
        return (self.columns - _BOX_COLUMNS) // 2


NO_FORM = Form()
"""Of boxes alone."""


def form_of(outlines: Sequence[Sequence[float]]) -> Form:
    """Of the rows of a file, given by the numbers after the class."""
    read = [(len(row) + 1, is_pose) for row in outlines if (is_pose := _as_pose(row)) is not None]
    return joined([Form(1, columns, int(is_pose)) for columns, is_pose in read])


def joined(forms: Sequence[Form]) -> Form:
    """Of several files, or rows, together."""
    told = [form for form in forms if form.rows]
    if not told:
        return NO_FORM
    columns = {form.columns for form in told}
    return Form(
        rows=sum(form.rows for form in told),
        columns=columns.pop() if len(columns) == 1 else -1,
        poses=sum(form.poses for form in told),
    )


def keypoints_with_visibility(words: Sequence[str]) -> int:
    """How many points of x, y and visibility follow a box in this row; 0 where it is no such row."""
    points, rest = divmod(len(words) - _BOX_COLUMNS, 3)
    if points < 1 or rest or any(_visibility(word) is None for word in words[7::3]):
        return 0
    try:
        values = [float(word) for word in words[1:]]
    except ValueError:
        return 0
    seen = [(values[at], values[at + 1]) for at in range(4, len(values), 3) if values[at + 2] > 0]
    return points if _is_within(values[:4], seen) else 0


def are_turned_boxes(outlines: Sequence[Sequence[float]]) -> bool:
    """Whether each is the four corners of a box, and one of these boxes does not stand upright."""
    return all(map(_is_box, outlines)) and any(map(_is_turned, outlines))


def _is_box(corners: Sequence[float]) -> bool:
    if len(corners) != 8:
        return False
    x, y = corners[::2], corners[1::2]
    return max(abs(values[0] + values[2] - values[1] - values[3]) for values in (x, y)) <= _PARALLEL


def _is_turned(corners: Sequence[float]) -> bool:
    x1, y1, x2, y2 = corners[:4]
    across, along = sorted((abs(x1 - x2), abs(y1 - y2)))
    return across > _TURNED * along


def _as_pose(row: Sequence[float]) -> bool | None:
    """Whether the numbers read as a box and points of two values within it; none where no point is labelled."""
    points = [(x, y) for x, y in zip(row[4::2], row[5::2], strict=True) if x > 0 and y > 0]
    if not points:
        return None
    if len(points) < 2 or not _is_within(row[:4], points):
        return False
    spread = [max(values) - min(values) for values in zip(*points, strict=True)]
    return any(part >= _LEAST_SPREAD * side for part, side in zip(spread, row[2:4], strict=True))


def _is_within(box: Sequence[float], points: Sequence[tuple[float, float]]) -> bool:
    x, y, width, height = box
    if not (0 < width <= 1.01 and 0 < height <= 1.01 and 0 <= x <= 1 and 0 <= y <= 1):
        return False
    if x - width / 2 < -0.01 or x + width / 2 > 1.01 or y - height / 2 < -0.01 or y + height / 2 > 1.01:
        return False
    reach = 0.5 + _MARGIN
    return all(abs(px - x) <= reach * width and abs(py - y) <= reach * height for px, py in points)


def _visibility(word: str) -> int | None:
    """0 not labelled, 1 hidden, 2 seen."""
    try:
        value = float(word)
    except ValueError:
        return None
    return int(value) if value in (0, 1, 2) else None
