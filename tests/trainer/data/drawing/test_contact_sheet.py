"""Contact sheets as images: everything fits, and every box is visible."""

import time
from itertools import pairwise

import numpy as np
import pytest

from trainer.data.drawing.boxes import Cell, colour_of, drawn, label_of
from trainer.data.drawing.contact_sheet import Row, Sheet, jpeg
from trainer.data.drawing.contact_sheet import drawn as drawn_sheet
from trainer.data.drawing.text import fitted, font_for, on_one_line, usual_font, wrapped

SIDE = 320
BOX = [0.25, 0.25, 0.75, 0.75]


def cell_of(height=50, width=50, boxes=(), classes=()):
    pixels = np.full((height, width, 3), 90, np.uint8)
    return Cell(pixels=pixels, boxes=np.array(boxes, float).reshape(-1, 4), classes=tuple(classes))


def sheet_of(**changes):
    cell = cell_of(boxes=[BOX], classes=[0])
    usual = {
        "title": "strong",
        "facts": ("mosaic 1", "mixup 0.15"),
        "left_out": "at 0: bgr",
        "notes": (),
        "columns": ("untouched", "draw 1"),
        "rows": (Row(caption="a.jpg", cells=(cell, cell)),),
        "names": {0: "red"},
    }
    return Sheet(**{**usual, **changes})


def test_a_sheet_is_as_wide_as_its_columns_however_long_its_texts_are():
    long = "hippopotamus " * 60
    sheet = sheet_of(
        title=long,
        facts=tuple(f"argument_{number} 0.123" for number in range(30)),
        notes=(long, "x" * 2000),
        names={0: long},
        rows=(Row(caption=long, cells=sheet_of().rows[0].cells),),
    )
    image = drawn_sheet(sheet)
    assert image.width == drawn_sheet(sheet_of()).width
    margin = np.asarray(image)[:, -10:]
    assert (margin == 255).all()


def test_a_warning_takes_its_own_lines():
    assert drawn_sheet(sheet_of(notes=("no effect",))).height > drawn_sheet(sheet_of()).height


def test_a_thousand_classes_leave_the_legend_a_few_lines():
    cell = cell_of(boxes=[BOX] * 1000, classes=range(1000))
    names = {class_id: f"a class with a longish name {class_id}" for class_id in range(1000)}
    sheet = sheet_of(rows=(Row(caption="a", cells=(cell, cell)),), names=names)
    assert drawn_sheet(sheet).height < drawn_sheet(sheet_of()).height + 30 * 22


def test_the_same_sheet_gives_the_same_bytes():
    assert jpeg(sheet_of()) == jpeg(sheet_of())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 4000), (4000, 5), (1000, 1000)])
def test_an_image_of_any_shape_fills_its_square(height, width):
    assert drawn(cell_of(height, width, [BOX], [0]), {0: "red"}, SIDE).size == (SIDE, SIDE)


def test_a_box_is_drawn_where_it_is_in_its_class_colour():
    pixels = np.asarray(drawn(cell_of(boxes=[BOX], classes=[7]), {7: "red"}, SIDE))
    edge = round(0.25 * SIDE)
    assert (pixels[SIDE // 2, edge] == colour_of(7)).all()
    assert (pixels[SIDE // 2, edge - 2] == 90).all()
    assert (pixels[SIDE // 2, SIDE // 2] == 90).all()


@pytest.mark.parametrize("box", [[0, 0, 1, 1], [0, 0, 0, 0], [0.999, 0.999, 1, 1], [0, 0.5, 1, 0.5]])
def test_boxes_at_the_edge_and_without_area_are_drawn(box):
    drawn(cell_of(boxes=[box], classes=[0]), {0: "red"}, SIDE)


def test_no_label_hides_the_middle_of_an_object():
    neighbours = [[0.1, 0.5, 0.9, 0.9], [0.12, 0.44, 0.2, 0.49], [0.12, 0.91, 0.2, 0.96], [0.12, 0.51, 0.2, 0.55]]
    alone = np.asarray(drawn(cell_of(boxes=neighbours[:1], classes=[0]), {0: "red"}, SIDE)).astype(int)
    crowded = np.asarray(drawn(cell_of(boxes=neighbours, classes=[0] * 4), {0: "red"}, SIDE)).astype(int)
    for left, top, right, bottom in neighbours[1:]:
        middle = round((top + bottom) / 2 * SIDE), round((left + right) / 2 * SIDE)
        assert (crowded[middle] == 90).all()
    assert any(
        (alone[round((box[1] + box[3]) / 2 * SIDE), round((box[0] + box[2]) / 2 * SIDE)] != 90).any()
        for box in neighbours[1:]
    )


@pytest.mark.parametrize(("columns", "side"), [(1, 640), (3, 640), (6, 320), (21, 320)])
def test_few_columns_make_large_images(columns, side):
    cells = (cell_of(boxes=[BOX], classes=[0]),) * columns
    sheet = sheet_of(columns=("c",) * columns, rows=(Row(caption="a", cells=cells),))
    assert drawn_sheet(sheet).width == columns * (side + 8) - 8 + 32


def test_neighbouring_classes_have_colours_that_differ():
    colours = [np.array(colour_of(class_id)) for class_id in range(20)]
    assert all(np.abs(a - b).sum() > 100 for a, b in pairwise(colours))
    assert len({tuple(colour) for colour in colours}) == len(colours)


@pytest.mark.parametrize("name", ["vélo", "дерево", "čaj", "a b"])
def test_names_that_can_be_written_stay(name):
    assert label_of(3, {3: name}) == name


@pytest.mark.parametrize("name", ["", "   ", "𓂀"])
def test_names_that_cannot_be_written_become_numbers(name):
    assert label_of(3, {3: name}) == "class 3"


def test_line_breaks_and_marks_of_direction_are_shown_as_squares():
    assert on_one_line("a\nb\u202ec\ud800") == "a□b□c□"


def test_very_many_boxes_and_very_long_names_take_only_a_moment():
    edges = np.random.default_rng(0).random((20_000, 2, 2))
    edges.sort(axis=1)
    cell = cell_of(boxes=edges.reshape(-1, 4), classes=[0] * len(edges))
    began = time.monotonic()
    drawn(cell, {0: "x" * 1_000_000}, SIDE)
    assert time.monotonic() - began < 15


def test_text_is_cut_to_the_width():
    font = usual_font(12)
    assert fitted("short", font, 200) == "short"
    assert fitted("w" * 100, font, 100).endswith("w…")
    assert font.getlength(fitted("w" * 100, font, 100)) <= 100
    assert list(wrapped(["a" * 10, "b" * 10, "c"], font, 100, separator=" ")) == ["a" * 10, "b" * 10 + " c"]
    assert font_for("plain", 12) is font
