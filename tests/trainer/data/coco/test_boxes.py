"""Boxes in pixels become label rows."""

import numpy as np
import pytest

from tests.support.coco_json import ROW, annotation, coco, put_json
from trainer.data.coco.boxes import rows_of
from trainer.data.coco.reading import read_coco
from trainer.exceptions import DataError

SIZES = np.array([[100, 100], [100, 100]])
CLASSES = {1: 0, 2: 1}


def rows(tmp_path, *annotations, sizes=SIZES):
    content = {**coco(["a.jpg", "b.jpg"]), "annotations": list(annotations)}
    return rows_of(read_coco(put_json(tmp_path / "x.json", content)), sizes, CLASSES)


def test_rows_have_the_centre_and_size_as_fractions_in_the_order_of_the_file(tmp_path):
    found = rows(tmp_path, annotation(2), annotation(1, (0, 0, 100, 50), 2), annotation(2, (50, 50, 50, 50), 2))
    assert found.of_image == {
        1: ROW + "1 0.750000 0.750000 0.500000 0.500000\n",
        0: "1 0.500000 0.250000 1.000000 0.500000\n",
    }
    assert (found.num_boxes, found.num_clipped, found.num_dropped) == (3, 0, 0)


@pytest.mark.parametrize(
    ("box", "row", "clipped"),
    [
        ((-0.5, 0, 50.5, 50), "0 0.250000 0.250000 0.500000 0.500000\n", 0),
        ((-20, -10, 40, 30), "0 0.100000 0.100000 0.200000 0.200000\n", 1),
        ((90, 90, 30, 30), "0 0.950000 0.950000 0.100000 0.100000\n", 1),
    ],
)
def test_a_box_beyond_its_image_is_clipped_and_counted_from_one_pixel(tmp_path, box, row, clipped):
    found = rows(tmp_path, annotation(1, box), annotation(2), annotation(2, (1, 1, 9, 9)), annotation(2, (2, 2, 9, 9)))
    assert found.of_image[0] == row
    assert found.num_clipped == clipped


@pytest.mark.parametrize("box", [(5, 5, 0, 9), (5, 5, 9, -1), (100, 5, 9, 9), (-20, 5, 10, 9), (5, 200, 9, 9)])
def test_a_box_without_size_or_outside_its_image_is_dropped_and_counted(tmp_path, box):
    found = rows(tmp_path, annotation(1, box), annotation(2))
    assert found.of_image == {1: ROW}
    assert (found.num_boxes, found.num_dropped) == (1, 1)


def test_boxes_of_images_that_are_left_out_do_not_count(tmp_path):
    found = rows(tmp_path, annotation(1), annotation(2, (5, 5, 0, 0)), sizes=np.array([[100, 100], [0, 0]]))
    assert (found.of_image, found.num_dropped) == ({0: ROW}, 0)


def test_fractions_and_corners_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"must be in pixels, but all 2 are fractions, the first .0.1, 0.2, 0.5, 1.0."):
        rows(tmp_path, annotation(1, (0.1, 0.2, 0.5, 1.0)), annotation(2, (0, 0, 1, 1)))
    with pytest.raises(DataError, match=r"2 of 3 boxes reach beyond their image, the first .60.0, 60.0, 90.0, 90.0."):
        rows(tmp_path, *(annotation(1, box) for box in ((60, 60, 90, 90), (40, 50, 80, 70), (5, 5, 20, 20))))
