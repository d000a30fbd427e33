"""Images that are known by their content: none is decoded twice, and none is judged by old content."""

import os
import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image

from trainer.data.checking import scan as scanning
from trainer.data.checking.images import ImageFlaw
from trainer.data.checking.scan import Reading, scan


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Make four images. One is rotated and one is broken."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6 if seed == 1 else 1
        Image.fromarray(pixels).save(folder / f"{seed}.jpg", exif=exif)
    (folder / "3.jpg").write_bytes(b"no image")
    return folder


def seen(folder, channels=3):
    return scan(sorted(folder.iterdir()), Reading(num_classes=1, channels=channels))


def facts(scan):
    return scan.shapes.tolist(), scan.small.tolist(), scan.image_flaws, scan.num_bytes.tolist()


@pytest.fixture
def count(monkeypatch):
    """Return the list of decoded images, by their number of bytes."""
    decoded = []
    stock = scanning.examine

    def examine(content, *how):
        decoded.append(len(content))
        return stock(content, *how)

    monkeypatch.setattr(scanning, "examine", examine)
    return decoded


def test_a_second_scan_decodes_nothing_and_finds_the_same(folder, count):
    first = facts(seen(folder))
    assert len(count) == 4
    assert facts(seen(folder)) == first
    assert len(count) == 4


@pytest.mark.parametrize(
    "move",
    [
        lambda folder, target: folder.rename(target),
        lambda folder, target: shutil.copytree(folder, target),
        lambda folder, target: shutil.copytree(folder, target, symlinks=False, copy_function=shutil.copyfile),
    ],
    ids=["moved", "copied", "copied with new times"],
)
def test_a_data_set_in_another_place_is_not_decoded_again(folder, tmp_path, count, move):
    first = facts(seen(folder))
    move(folder, tmp_path / "elsewhere")
    assert facts(seen(tmp_path / "elsewhere")) == first
    assert len(count) == 4


def test_one_more_image_is_the_only_one_that_is_decoded(folder, count):
    seen(folder)
    Image.new("RGB", (30, 30)).save(folder / "4.png")
    seen(folder)
    assert count[4:] == [(folder / "4.png").stat().st_size]


def test_a_changed_file_of_the_same_size_and_time_is_judged_again(folder):
    seen(folder)
    path = folder / "0.jpg"
    before = path.stat()
    path.write_bytes(b"x" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (0, ImageFlaw.UNREADABLE) in [(i, found.flaw) for i, found in seen(folder).image_flaws]


def test_the_same_content_is_judged_again_for_another_number_of_channels_or_another_suffix(folder, count):
    seen(folder)
    seen(folder, channels=1)
    (folder / "0.jpg").rename(folder / "0.tif")
    seen(folder)
    assert len(count) == 9


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be taken for one" * 100])
def test_a_broken_database_is_made_again(folder, cache_home, count, content):
    first = facts(seen(folder))
    (file,) = cache_home.rglob("*.sqlite")
    file.write_bytes(content)
    for _ in range(3):
        assert facts(seen(folder)) == first
    assert len(count) in (8, 12)  # the scan that finds it broken keeps nothing


def test_rows_of_another_program_are_not_trusted(folder, cache_home):
    first = facts(seen(folder))
    (file,) = cache_home.rglob("*.sqlite")
    with sqlite3.connect(file) as database:
        database.execute("UPDATE images SET about = '[1]'")
    assert facts(seen(folder)) == first


def test_without_a_cache_folder_everything_is_decoded(folder, monkeypatch, count):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert facts(seen(folder)) == facts(seen(folder))
    assert len(count) == 8
