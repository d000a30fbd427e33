"""Labels of other tasks than detection: recognised correctly, and not mistaken for each other."""

import math

import numpy as np
import pytest

from trainer.data.checking.label_forms import form_of, joined
from trainer.data.checking.labels import RowFlaw, read_labels


def flaws(text: str) -> list[RowFlaw]:
    found = [row.flaw for row in read_labels(text.encode(), 3).flaws]
    return [flaw for flaw in found if flaw != RowFlaw.NEAR_DUPLICATE]  # not tested here


def outline(rng: np.random.Generator, points: int) -> list[float]:
    """Draw a closed line around a place, with its points in order."""
    x, y, radius = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.02, 0.2)
    angles = np.arange(points) * 2 * math.pi / points + rng.uniform(0, 7)
    return [value for a in angles for value in (x + radius * math.cos(a), y + radius * math.sin(a))]


def row(class_id: int, values: list[float]) -> str:
    return " ".join([str(class_id), *(f"{value:.6f}" for value in values)])


@pytest.mark.parametrize("points", [3, 4, 5, 8, 40])
@pytest.mark.parametrize("seed", range(5))
def test_outlines_are_not_mistaken_for_keypoints_whatever_the_number_of_points(points, seed):
    rng = np.random.default_rng(seed)
    rows = [outline(rng, points) for _ in range(20)]
    assert form_of(rows).keypoints == 0
    assert flaws("\n".join(row(0, values) for values in rows)) == [
        RowFlaw.TURNED_BOXES if points == 4 else RowFlaw.OUTLINES
    ]


@pytest.mark.parametrize("number", [2, 4, 5, 17])
@pytest.mark.parametrize("seed", range(5))
def test_boxes_with_keypoints_of_two_values_are_recognised_by_all_rows_together(number, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(20):
        (x, y), (w, h) = rng.uniform(0.3, 0.7, 2), rng.uniform(0.1, 0.5, 2)
        points = np.stack([rng.uniform(x - w / 2, x + w / 2, number), rng.uniform(y - h / 2, y + h / 2, number)], 1)
        points[:2] = [(x - w / 3, y - h / 3), (x + w / 3, y + h / 3)]
        rows.append([x, y, w, h, *points.ravel()])
    assert form_of(rows).keypoints == number
    assert joined([form_of(rows[:7]), form_of(rows[7:])]).keypoints == number
    assert joined([form_of(rows), form_of([outline(rng, 9)])]).keypoints == 0


def test_two_rows_are_not_enough():
    assert form_of([[0.5, 0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.6]] * 2).keypoints == 0


TURNED = [0.5, 0.3, 0.7, 0.5, 0.5, 0.7, 0.3, 0.5]
UPRIGHT = [0.3, 0.3, 0.7, 0.3, 0.7, 0.7, 0.3, 0.7]
LEANING = [0.3, 0.3, 0.7, 0.33, 0.69, 0.73, 0.29, 0.7]
KITE = [0.5, 0.2, 0.7, 0.5, 0.5, 0.9, 0.3, 0.5]


@pytest.mark.parametrize(
    ("rows", "flaw"),
    [
        ([TURNED], RowFlaw.TURNED_BOXES),
        ([UPRIGHT, TURNED], RowFlaw.TURNED_BOXES),
        ([LEANING], RowFlaw.TURNED_BOXES),
        ([UPRIGHT], RowFlaw.OUTLINES),
        ([KITE], RowFlaw.OUTLINES),
        ([TURNED, KITE], RowFlaw.OUTLINES),
    ],
)
def test_four_corners_are_rotated_boxes_if_one_is_not_upright(rows, flaw):
    assert flaws("\n".join(row(0, values) for values in rows)) == [flaw]


@pytest.mark.parametrize(
    ("text", "flaw", "value"),
    [
        ("0 0.5 0.5 0.2 0.2 0.873", RowFlaw.SIXTH_COLUMN, "0.873"),
        ("0 0.5 0.5 0.2 0.2 -1.57", RowFlaw.SIXTH_COLUMN, "-1.57"),
        ("0 0.5 0.5 0.2 0.2 car", RowFlaw.SIXTH_COLUMN, "car"),
        ("0 320 240 64 64", RowFlaw.PIXELS, "320"),
        ("0 100 100 200 100 200 200 100 200", RowFlaw.PIXELS, "150"),
        ("0 0.5 0.5 0.2 1.3", RowFlaw.RANGE, "1.3"),
        ("traffic_light 0.5 0.5 0.2 0.2", RowFlaw.CLASS_NAME, "traffic_light"),
        ("car 0.1 0.1 0.2 0.1 0.2 0.2", RowFlaw.CLASS_NAME, "car"),
        ("nan 0.5 0.5 0.2 0.2", RowFlaw.NUMBER, "nan"),
        ("0,0.5,0.5,0.2,0.2", RowFlaw.COLUMNS, "one column, with commas"),
        ("0;0.5;0.5;0.2;0.2", RowFlaw.COLUMNS, "one column, with commas"),
        ("10 10 50 10 50 60 10 60 plane 0", RowFlaw.COLUMNS, "10 columns, as in DOTA"),
        ("0 0.5 0.5 0.4 0.4 0.5 0.5 2", RowFlaw.KEYPOINTS, "1 keypoints of 3 values"),
        ("0 0.5 0.5 0.4 0.4 0.5 0.5 2 0 0 0", RowFlaw.KEYPOINTS, "2 keypoints of 3 values"),
    ],
)
def test_rows_of_other_kinds_have_their_own_names(text, flaw, value):
    (found,) = read_labels(text.encode(), 3).flaws
    assert (found.flaw, found.value) == (flaw, value)
    assert found.flaw.loses_image


def test_an_outline_that_touches_the_border_is_not_mistaken_for_keypoints():
    assert flaws("0 0 0 0.5 0 0.9 0.2 1 0.5 0.5 1") == [RowFlaw.OUTLINES]
    assert flaws("0 0.2 0.1 0.8 0.1 0.9 0 0.5 1 0.2 1") == [RowFlaw.OUTLINES]
