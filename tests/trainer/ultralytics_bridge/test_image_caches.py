"""Decoded images: none is kept, read or removed next to the user's images."""

import os

import numpy as np
import pytest
from PIL import Image

from trainer.ultralytics_bridge import environment

environment.configure()

import ultralytics.data.dataset as stock  # noqa: E402 - only after the environment is set
from ultralytics.cfg import get_cfg  # noqa: E402

from tests.trainer.ultralytics_bridge.test_label_caches import Payload, assert_same, content  # noqa: E402
from trainer.ultralytics_bridge import training  # noqa: E402

assert training, "what a trial imports, whatever that is, protects the user's files"


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def user_data(tmp_path):
    root = tmp_path / "data"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (40, 30), (50 * number, 0, 0)).save(root / "images" / f"{number}.png")
        (root / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return root


def dataset_of(root, cache):
    data = {"names": {0: "a"}, "channels": 3}
    options = {"data": data, "task": "detect", "imgsz": 64, "augment": False, "cache": cache}
    return stock.YOLODataset(img_path=str(root / "images"), hyp=get_cfg(), **options)


def images_of(dataset):
    return [dataset.load_image(index)[0] for index in range(len(dataset.labels))]


def kept(cache_home):
    return sorted(path for path in (cache_home / "mamba-yolo-tuner").rglob("*.npy"))


def test_decoded_images_are_kept_in_our_folder_and_equal_the_users(user_data, cache_home):
    before = content(user_data)
    expected = images_of(dataset_of(user_data, cache=False))
    assert kept(cache_home) == []
    assert_same(images_of(dataset_of(user_data, cache="disk")), expected)
    assert len(kept(cache_home)) == 3
    times = [path.stat().st_mtime_ns for path in kept(cache_home)]
    assert_same(images_of(dataset_of(user_data, cache="disk")), expected)
    assert [path.stat().st_mtime_ns for path in kept(cache_home)] == times
    assert content(user_data) == before


@pytest.mark.parametrize("cache", [False, "ram", "disk"])
def test_an_npy_next_to_an_image_is_not_mistaken_for_it_and_stays(user_data, tmp_path, cache):
    expected = images_of(dataset_of(user_data, cache=False))
    np.save(user_data / "images" / "0.npy", np.full((30, 40, 3), 7, np.uint8))
    (user_data / "images" / "1.npy").write_bytes(b"the user's own")
    planted = np.array([Payload(tmp_path / "it-ran")], dtype=object)
    np.save(user_data / "images" / "2.npy", planted, allow_pickle=True)
    before = content(user_data)
    assert_same(images_of(dataset_of(user_data, cache=cache)), expected)
    assert content(user_data) == before
    assert not (tmp_path / "it-ran").exists()


def test_a_changed_image_is_decoded_again(user_data):
    dataset_of(user_data, cache="disk")
    path = user_data / "images" / "1.png"
    Image.new("RGB", (40, 30), (9, 9, 9)).save(path)
    os.utime(path, ns=(1, 1))
    assert (images_of(dataset_of(user_data, cache="disk"))[1] == 9).all()


def test_broken_cached_files_are_replaced(user_data, cache_home):
    expected = images_of(dataset_of(user_data, cache="disk"))
    kept(cache_home)[0].write_bytes(b"half a f")
    assert_same(images_of(dataset_of(user_data, cache="disk")), expected)


@pytest.mark.parametrize("reason", ["no folder", "no room"])
def test_without_a_place_to_keep_them_images_are_read_each_time(user_data, cache_home, monkeypatch, reason):
    if reason == "no folder":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    else:
        from trainer.ultralytics_bridge import image_caches

        monkeypatch.setattr(image_caches, "_MARGIN", 1e15)
    dataset = dataset_of(user_data, cache="disk")
    assert len(images_of(dataset)) == 3
    assert kept(cache_home) == []


def test_a_jpeg_that_does_not_end_with_its_end_mark_is_not_repaired_in_place(user_data):
    path = user_data / "images" / "0.jpg"
    Image.new("RGB", (40, 30)).save(path)
    path.write_bytes(path.read_bytes() + b"more")
    before = content(user_data)
    dataset_of(user_data, cache=False)
    assert content(user_data) == before
