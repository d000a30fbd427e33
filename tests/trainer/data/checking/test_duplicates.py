"""Copies of images: identical bytes, and images that look the same."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from trainer.data.checking import duplicates
from trainer.data.checking.duplicates import SIMILAR, Twin, comparable, exact_twins, near_twins
from trainer.data.checking.scan import Reading, scan


def image(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """Draw coarse blobs with detail, unique for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + rng.integers(-10, 11, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def twins_of(tmp_path, *contents: bytes, groups=None) -> list[Twin]:
    paths = []
    for number, content in enumerate(contents):
        paths.append(tmp_path / f"{number:03}.jpg")
        paths[-1].write_bytes(content)
    seen = scan(paths, Reading(num_classes=1))
    return near_twins(comparable(seen.small), groups or [range(len(paths))])


def pairs(twins: list[Twin]) -> list[tuple[int, int]]:
    return [(twin.image, twin.earlier) for twin in twins]


def test_equal_bytes_are_copies_of_the_first_and_equal_checksums_alone_are_not(tmp_path):
    paths = [tmp_path / str(number) for number in range(5)]
    for path, content in zip(paths, (b"one", b"two", b"one", b"sum", b"one"), strict=True):
        path.write_bytes(content)
    twins = exact_twins(paths, np.full(5, 3), np.array([7, 7, 7, 7, 7], np.uint32))
    assert pairs(twins) == [(2, 0), (4, 0)]


CHANGES = {
    "saved at low quality": lambda image: jpeg(image, 30),
    "half the size": lambda image: jpeg(image.resize((80, 60))),
    "twice the size": lambda image: jpeg(image.resize((320, 240))),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.2)),
    "less contrast": lambda image: jpeg(ImageEnhance.Contrast(image).enhance(0.8)),
    "without colours": lambda image: jpeg(image.convert("L")),
    "mirrored": lambda image: jpeg(image.transpose(Image.FLIP_LEFT_RIGHT)),
    "cropped by 1 %": lambda image: jpeg(image.crop((2, 1, 158, 119))),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_found_among_others(tmp_path, change):
    contents = [jpeg(image(seed)) for seed in range(12)]
    (twin,) = twins_of(tmp_path, *contents, change(image(5)))
    assert (twin.image, twin.earlier) == (12, 5)
    assert SIMILAR <= twin.similarity <= 1


def test_unreadable_images_and_those_of_one_grey_resemble_no_other(tmp_path):
    grey = jpeg(Image.new("RGB", (64, 64), "grey"))
    assert twins_of(tmp_path, grey, grey, b"", b"no image", jpeg(image(1))[:500]) == []


def test_the_first_group_that_has_a_twin_counts(tmp_path):
    same = [jpeg(image(1), quality) for quality in (95, 90, 85, 80)]
    other = jpeg(image(2))
    groups = [range(2), range(2, 4), range(4, 6)]
    assert pairs(twins_of(tmp_path, other, same[0], other, same[1], same[2], same[3], groups=groups)) == [
        (2, 0),
        (3, 1),
        (4, 1),
        (5, 1),
    ]


def test_comparing_in_blocks_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    small = rng.normal(size=(300, 256)).astype(np.float32)
    small[200:260] = small[100:160] + 0.1 * rng.normal(size=(60, 256))
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    whole = near_twins(small, [range(250), range(250, 300)])
    assert pairs(whole) == [(number, number - 100) for number in range(200, 260)]
    monkeypatch.setattr(duplicates, "_ROWS", 17)
    monkeypatch.setattr(duplicates, "_COLUMNS", 23)
    assert pairs(near_twins(small, [range(250), range(250, 300)])) == pairs(whole)


def test_many_images_of_one_scene_take_no_longer_than_others():
    scene = np.random.default_rng(0).normal(size=256).astype(np.float32)
    small = scene + 0.01 * np.random.default_rng(1).normal(size=(3000, 256)).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    twins = near_twins(small, [range(2000), range(2000, 3000)])
    assert len(twins) == 2999
    assert all(twin.earlier < 2000 for twin in twins if twin.image >= 2000)
