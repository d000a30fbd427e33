"""Recognise labels of tasks other than box detection by the common form of their rows.

ultralytics treats every row of more than six columns as an outline, unless the YAML has `kpt_shape`. A box followed by
keypoints then becomes an outline through the centre of the box, and the model trains on something that is no object.
"""

from collections.abc import Sequence
from typing import NamedTuple

_BOX_COLUMNS = 5
_LEAST_ROWS = 3
"""Minimum number of rows for a conclusion."""
_POSE_SHARE = 0.95
"""Minimum share of the rows that look like keypoints, 0 to 1."""
_MARGIN = 0.1
"""Maximum distance of keypoints outside their box, as a fraction of its sides: labelling tools differ."""
_LEAST_SPREAD = 0.25
"""Minimum spread of the keypoints, as a fraction of the box: an outline read as keypoints has points close together."""
_PARALLEL = 0.02
"""Maximum distance of the fourth corner from where the other three put it, for rounding and labelling by hand."""
_TURNED = 0.05
"""Minimum slope of a side of a rotated box: three degrees."""


class Form(NamedTuple):
    """Common form of the rows of one or more label files that are not boxes."""

    rows: int = 0
    """Number of informative rows: outlines, or boxes with at least one labelled keypoint."""
    columns: int = 0
    """Number of columns of each row; -1 if they differ."""
    poses: int = 0
    """Number of rows that look like a box and points inside it."""

    @property
    def keypoints(self) -> int:
        """Number of keypoints of two values after each box; 0 if the rows are not of that kind."""
        if self.columns < 0 or self.rows < _LEAST_ROWS or self.poses < _POSE_SHARE * self.rows:
            return 0
        return (self.columns - _BOX_COLUMNS) // 2


NO_FORM = Form()
"""Form of files with boxes only."""


def form_of(outlines: Sequence[Sequence[float]]) -> Form:
    """Return the form of the rows of a file, given by the numbers after the class."""
    read = [(len(row) + 1, is_pose) for row in outlines if (is_pose := _as_pose(row)) is not None]
    return joined([Form(1, columns, int(is_pose)) for columns, is_pose in read])


def joined(forms: Sequence[Form]) -> Form:
    """Combine the forms of several files or rows."""
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
    """Count the points of x, y and visibility that follow a box in this row; 0 if the row has another form."""
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
    """Check whether each outline is the four corners of a box, and at least one box is rotated."""
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
    """Check whether the row looks like a box and points of two values inside it; None if no point is labelled."""
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
    """Return 0 for not labelled, 1 for hidden, 2 for visible, None for anything else."""
    try:
        value = float(word)
    except ValueError:
        return None
    return int(value) if value in (0, 1, 2) else None
