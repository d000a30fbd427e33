"""Label files: each flaw at its line, and an image is usable if ultralytics accepts it."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.checking.labels import RowFlaw, read_labels
from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics.data.utils import verify_image_label  # noqa: E402 - only after the environment is set

NUM_CLASSES = 3
GOOD = "0 0.5 0.5 0.25 0.5"


def flaws(text):
    return [(row.line, row.flaw) for row in read_labels(text.encode(), NUM_CLASSES).flaws]


def test_a_good_file_gives_its_boxes_and_no_flaw():
    labels = read_labels(f"{GOOD}\n2 0.1 0.2 0.1 0.1\n".encode(), NUM_CLASSES)
    assert [tuple(box) for box in labels.boxes] == [(1, 0, 0.5, 0.5, 0.25, 0.5), (2, 2, 0.1, 0.2, 0.1, 0.1)]
    assert labels.flaws == ()


FLAWS = {
    "a column too few": ("0 0.5 0.5 0.25", RowFlaw.COLUMNS),
    "a confidence after the box": ("0 0.5 0.5 0.25 0.5 0.9", RowFlaw.SIXTH_COLUMN),
    "half a point": ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.3", RowFlaw.COLUMNS),
    "a class by name": ("car 0.5 0.5 0.25 0.5", RowFlaw.CLASS_NAME),
    "NaN": ("0 nan 0.5 0.25 0.5", RowFlaw.NUMBER),
    "infinity": ("0 inf 0.5 0.25 0.5", RowFlaw.NUMBER),
    "a comma for a point": ("0 0,5 0.5 0.25 0.5", RowFlaw.NUMBER),
    "a class too high": ("3 0.5 0.5 0.25 0.5", RowFlaw.CLASS_ID),
    "a class below 0": ("-1 0.5 0.5 0.25 0.5", RowFlaw.CLASS_ID),
    "half a class": ("0.5 0.5 0.5 0.25 0.5", RowFlaw.CLASS_ID),
    "pixels": ("0 320 240 50 50", RowFlaw.PIXELS),
    "a negative centre": ("0 -0.2 0.5 0.25 0.5", RowFlaw.RANGE),
    "a negative width": ("0 0.5 0.5 -0.005 0.5", RowFlaw.RANGE),
    "no width": ("0 0.5 0.5 0 0.5", RowFlaw.ZERO_SIZE),
    "no height": ("0 0.5 0.5 0.25 0.0", RowFlaw.ZERO_SIZE),
    "over the border": ("0 0.05 0.5 0.25 0.5", RowFlaw.BEYOND_BORDER),
    "the same again": ("1 0.5 0.5 0.5 0.5", RowFlaw.DUPLICATE),
    "the same in other digits": ("1.0 0.50 .5 5e-1 0.5", RowFlaw.DUPLICATE),
    "nearly the same again": ("1 0.51 0.5 0.5 0.5", RowFlaw.NEAR_DUPLICATE),
}


@pytest.mark.parametrize("case", FLAWS)
def test_a_flaw_is_reported_at_its_line_and_the_other_rows_are_kept(case):
    row, flaw = FLAWS[case]
    loses_box = flaw.loses_image or flaw in {RowFlaw.ZERO_SIZE, RowFlaw.DUPLICATE}
    labels = read_labels(f"1 0.5 0.5 0.5 0.5\n\n{row}\r\n2 0.2 0.2 0.1 0.1\n".encode(), NUM_CLASSES)
    assert [(found.line, found.flaw) for found in labels.flaws] == [(3, flaw)]
    assert [box.line for box in labels.boxes] == ([1, 4] if loses_box else [1, 3, 4])


def test_the_wrong_value_is_reported():
    (row,) = read_labels(b"0 0.5 0.5 0.25 1.5\n", NUM_CLASSES).flaws
    assert row.value == "1.5"
    (row,) = read_labels(f"{GOOD}\n{GOOD}\n".encode(), NUM_CLASSES).flaws
    assert row.value == "line 1"


def test_outlines_give_the_boxes_around_them():
    (box,) = read_labels(b"2 0.1 0.2 0.5 0.2 0.3 0.8", NUM_CLASSES).boxes
    assert box[1:] == pytest.approx((2, 0.3, 0.5, 0.4, 0.6))


def test_boxes_mixed_with_outlines_make_the_image_unusable():
    assert flaws(f"{GOOD}\n2 0.1 0.2 0.5 0.2 0.3 0.8") == [(0, RowFlaw.MIXED)]


def test_a_byte_that_is_not_text_is_reported_with_its_line():
    labels = read_labels(GOOD.encode() + b"\n0 \xff 0.5 0.5 0.5", NUM_CLASSES)
    assert [tuple(row) for row in labels.flaws] == [(2, RowFlaw.ENCODING, "byte 0xff")]


def test_a_byte_order_mark_is_not_a_flaw():
    assert read_labels(b"\xef\xbb\xbf" + GOOD.encode(), NUM_CLASSES).flaws == ()


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n\t\n"])
def test_an_empty_file_is_a_background_without_a_flaw(content):
    labels = read_labels(content, NUM_CLASSES)
    assert labels.boxes == labels.flaws == ()


def test_boxes_of_different_classes_may_overlap():
    assert flaws(f"{GOOD}\n1{GOOD[1:]}") == []


def iou(one, other):
    corners = [(b.x_center - b.width / 2, b.y_center - b.height / 2) for b in (one, other)]
    ends = [(b.x_center + b.width / 2, b.y_center + b.height / 2) for b in (one, other)]
    sides = [max(0.0, min(e[i] for e in ends) - max(c[i] for c in corners)) for i in (0, 1)]
    both = sides[0] * sides[1]
    return both / (one.width * one.height + other.width * other.height - both)


def test_near_duplicates_are_those_that_comparing_all_pairs_finds():
    numbers = np.random.default_rng(0)
    places = numbers.uniform(0.3, 0.4, (60, 2))
    sizes = numbers.uniform(0.2, 0.3, (60, 2))
    text = "\n".join(f"0 {x} {y} {w} {h}" for (x, y), (w, h) in zip(places, sizes, strict=True))
    labels = read_labels(text.encode(), NUM_CLASSES)
    expected = {b.line for i, b in enumerate(labels.boxes) if any(iou(a, b) > 0.8 for a in labels.boxes[:i])}
    assert 5 < len(expected) < 55
    assert {row.line for row in labels.flaws} == expected


shares = st.integers(0, 1000).map(lambda number: f"{number / 1000:g}")  # as distinguished in 32 bits
words = st.one_of(
    st.sampled_from(["0", "1", "2", "3", "-1", "nan", "inf", "x", "0.0", "1.005", "-0.005", "1.02", "-0.02", "1e-3"]),
    shares,
)
rows = st.one_of(
    st.lists(words, max_size=8),
    st.lists(words, min_size=5, max_size=5),
    st.builds(lambda c, b: [str(c), *b], st.integers(0, 2), st.tuples(*[shares] * 4)),
    st.just(GOOD.split()),
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "image.png"
    cv2.imwrite(str(path), np.zeros((32, 32, 3), np.uint8))
    return path


@given(lines=st.lists(rows, max_size=5))
def test_an_image_is_usable_if_ultralytics_accepts_it(image, lines):
    """Both read the same boxes, except those without a size, which ultralytics trains on."""
    content = "\n".join(map(" ".join, lines)).encode()
    file = image.with_suffix(".txt")
    file.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, boxes, *_, is_broken, _ = verify_image_label((str(image), str(file), "", False, NUM_CLASSES, 0, 0, False))
    labels = read_labels(content, NUM_CLASSES)
    is_usable = not any(row.flaw.loses_image for row in labels.flaws)
    assert is_usable == (not is_broken)
    if is_usable:
        theirs = boxes[(boxes[:, 3] > 0) & (boxes[:, 4] > 0)]
        ours = np.array([box[1:] for box in labels.boxes], np.float32).reshape(-1, 5)
        assert np.allclose(np.unique(theirs, axis=0), np.unique(ours, axis=0), atol=1e-6)
