"""Counts, sizes, noise and advice."""

from pathlib import Path

import numpy as np
import pytest

from trainer.data.checking.advice import advice, fitting_imgsz
from trainer.data.checking.label_forms import NO_FORM
from trainer.data.checking.metric_noise import MAX_IMAGES, Detections, expected_noise, resampled
from trainer.data.checking.scan import Scan
from trainer.data.checking.statistics import odd_classes, odd_splits, size_facts, split_facts
from tuner.contract.data_report import ClassFacts, NoiseFacts, SplitFacts

YAML = Path("/data/set.yaml")


def seen(shapes: list[tuple[int, int]], boxes: list[list[tuple[float, ...]]]) -> Scan:
    """Make a scan of images of these sizes with these boxes: class, centre, width, height."""
    flat = [box for each in boxes for box in each]
    return Scan(
        shapes=np.array(shapes, np.int32),
        num_bytes=np.arange(len(shapes)) + 1,
        checksums=np.arange(len(shapes), dtype=np.uint32),
        small=np.zeros((len(shapes), 256), np.uint8),
        form=NO_FORM,
        has_labels=np.ones(len(shapes), bool),
        num_boxes=np.array([len(each) for each in boxes]),
        boxes=np.array(flat, np.float32).reshape(-1, 5),
        image_flaws=(),
        row_flaws=(),
    )


def facts(name: str, train: int, val: int) -> ClassFacts:
    counts = {"train": train, "val": val}
    return ClassFacts(name=name, images=counts, boxes=counts)


def split(usable: int) -> SplitFacts:
    return SplitFacts(images=usable, usable=usable, background=0, unlabelled=0, boxes=usable)


@pytest.mark.parametrize(
    ("train", "val", "kind"),
    [
        (100, 10, None),
        (99, 10, "rare-class"),
        (0, 10, "class-not-in-train"),
        (500, 0, "class-not-in-val"),
        (0, 0, "class-without-boxes"),
    ],
)
def test_classes_that_cannot_be_learnt_or_measured_are_named(train, val, kind):
    found = list(odd_classes(YAML, [facts("common", 10_000, 100), facts("this one", train, val)]))
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    for finding in found:
        assert f"class 1 'this one': boxes {train} in train, {val} in val" in finding.places[0].found


@pytest.mark.parametrize(
    ("train", "val", "odd"),
    [
        (800, 150, False),
        (960, 40, True),
        (950, 50, False),
        (599, 401, True),
        (100_000, 2_000, False),
        (100_000, 1_999, True),
    ],
)
def test_validation_splits_of_an_unusual_share_are_named_unless_they_are_large(train, val, odd):
    found = list(odd_splits(YAML, {"train": split(train), "val": split(val)}, None))
    assert bool(found) == odd


def test_a_validation_split_that_is_too_noisy_is_named_with_a_sufficient_size():
    noise = NoiseFacts(images=90, standard_deviation=0.02, least_difference=0.03, images_for_a_point=900)
    (finding,) = odd_splits(YAML, {"train": split(800), "val": split(100)}, noise)
    assert finding.kind == "noisy-validation"
    assert "a difference of 0.01 takes 900" in finding.places[0].found


def test_objects_are_measured_in_pixels_of_the_scaled_image():
    scan = seen(
        [(1280, 640), (100, 200)], [[(0, 0.5, 0.5, 0.05, 0.1)], [(0, 0.5, 0.5, 0.5, 0.5), (0, 0.5, 0.5, 0.02, 0.5)]]
    )
    sizes = size_facts(scan, 640)
    # 32 x 32, 160 x 320 and 6.4 x 320 pixels
    assert (sizes.small, sizes.medium, sizes.large) == pytest.approx((0, 2 / 3, 1 / 3))
    assert sizes.tiny == pytest.approx(1 / 3)
    assert sizes.boxes_per_image == 1.5


def test_a_data_set_without_boxes_or_readable_images_has_facts_too():
    sizes = size_facts(seen([(0, 0)], [[]]), 640)
    assert (sizes.small, sizes.median_side, sizes.boxes_per_image, sizes.image_sizes) == (0, 0, 0, ())
    assert split_facts(seen([(9, 9)], [[]]), {"train": range(1)})["train"].background == 1
    assert fitting_imgsz(seen([(0, 0)], [[]])) == 640


@pytest.mark.parametrize(
    ("shape", "side", "imgsz"),
    [
        ((1920, 1080), 0.1, 640),
        ((1920, 1080), 0.0101, 800),
        ((1920, 1080), 0.005, 1536),
        ((700, 500), 0.005, 704),
        ((128, 128), 0.5, 128),
        ((640, 480), 0.001, 640),
    ],
)
def test_small_objects_ask_for_a_larger_imgsz_but_not_beyond_the_images(shape, side, imgsz):
    width, height = shape
    box = (0, 0.5, 0.5, side, side * width / height)
    assert fitting_imgsz(seen([shape] * 3, [[box]] * 3)) == imgsz


@pytest.mark.parametrize(
    ("images", "model", "space"),
    [
        (100, "mamba-yolo-t", "strong_aug"),
        (9_999, "mamba-yolo-t", "strong_aug"),
        (10_000, "mamba-yolo-b", "medium_aug"),
        (50_000, "mamba-yolo-b", "medium_aug"),
        (50_001, "mamba-yolo-b", "weak_aug"),
        (100_000, "mamba-yolo-l", "weak_aug"),
    ],
)
def test_advice_follows_the_number_of_training_images(images, model, space):
    sizes = size_facts(seen([(640, 480)], [[(0, 0.5, 0.5, 0.2, 0.2)]]), 640)
    choices = {each.about: each.choice for each in advice({"train": split(images)}, sizes)}
    assert choices == {"start": "", "model": model, "space": space, "imgsz": "640"}


# Noise


def test_average_precision_is_the_area_under_the_envelope():
    """Calculated by hand: for two boxes, a hit, a miss and a hit give 1 x 1/2 + 2/3 x 1/2 at every IoU."""
    hits = np.repeat(np.array([[True], [False], [True]]), 10, axis=1)
    found = Detections(
        image=np.array([0, 0, 1]),
        class_id=np.zeros(3, np.int64),
        is_true=hits,
        image_of_box=np.array([0, 1]),
        class_of_box=np.zeros(2, np.int64),
    )
    times = np.array([[1, 1], [2, 0], [0, 1], [0, 0]], np.float32)
    assert resampled(found, times) == pytest.approx([5 / 6, 1, 1, np.nan], nan_ok=True)


def test_noise_falls_with_the_square_root_of_the_number_of_images():
    rng = np.random.default_rng(0)

    def noise(images: int) -> NoiseFacts:
        found = expected_noise(np.repeat(np.arange(images), 3), rng.integers(0, 4, 3 * images), images)
        assert found is not None
        return found

    few, more, many = noise(100), noise(1600), noise(16 * MAX_IMAGES)
    assert few.standard_deviation / more.standard_deviation == pytest.approx(4, rel=0.3)
    assert many.standard_deviation < 0.3 * more.standard_deviation
    assert few.images_for_a_point > 100
    assert few.images_for_a_point == pytest.approx(more.images_for_a_point, rel=0.7)


def test_without_a_box_no_noise_is_estimated():
    assert expected_noise(np.array([], np.int64), np.array([], np.int64), 10) is None
