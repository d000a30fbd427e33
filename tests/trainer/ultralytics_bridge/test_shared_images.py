"""Images decoded once for all runs: the same pixels and the same training as without sharing."""

import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import epochs_of, hear_all
from tests.trainer.ultralytics_bridge.test_label_caches import assert_same, content
from trainer.system import decoded_images
from trainer.ultralytics_bridge import environment
from tuner.execution.trainer_process import TrainerProcess

environment.configure()

import ultralytics.data.dataset as stock  # noqa: E402 - only after the environment is set
from ultralytics.cfg import get_cfg  # noqa: E402

from trainer.exceptions import DataError  # noqa: E402
from trainer.ultralytics_bridge import checkpoints, determinism, reading, shared_images, training  # noqa: E402

assert training, "what a trial imports shares images"

PLENTY = 2**30
SIZES = [(40, 30), (30, 40), (64, 64), (63, 64), (13, 11), (200, 77), (77, 201), (129, 128)]


@pytest.fixture(autouse=True)
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded_images, "_LEFT_FREE_BYTES", 0)
    decoded_images.lease.cache_clear()
    yield tmp_path / "cache"
    shared_images.share(0)
    decoded_images.lease.cache_clear()


@pytest.fixture
def user_data(tmp_path):
    """Make images of odd sizes, and one of each kind that is decoded differently."""
    root = tmp_path / "data"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = {f"{width}x{height}.png": rng.integers(0, 256, (height, width, 3), np.uint8) for width, height in SIZES}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(root / "images" / name)
    pixels = images["200x77.png"]
    Image.fromarray(pixels[..., 0]).save(root / "images" / "grey.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(root / "images" / "deep.png")
    Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(root / "images" / "alpha.png")
    Image.fromarray(pixels).save(root / "images" / "plain.jpg", quality=90)
    Image.fromarray(pixels).save(root / "images" / "page.tif")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels).save(root / "images" / "turned.jpg", exif=turned)
    for path in list((root / "images").iterdir()):
        (root / "labels" / f"{path.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    return root


def dataset_of(root, *, imgsz=64, channels=3, kind=stock.YOLODataset, **changes):
    data = {"names": {0: "a"}, "channels": channels}
    options = {"data": data, "task": "detect", "imgsz": imgsz, "augment": False} | changes
    return kind(img_path=str(root / "images"), hyp=get_cfg(), **options)


def images_of(dataset, **how):
    return [dataset.load_image(index, **how) for index in range(len(dataset.labels))]


def entries():
    return sorted(decoded_images.folder().glob("??/*"))


@pytest.fixture
def no_decoding(monkeypatch):
    """Return a function that makes the test fail if an image is decoded from then on."""

    def never(*arguments, **options):
        raise AssertionError("an image was decoded again")

    return lambda: monkeypatch.setattr(reading, "imread", never)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("imgsz", [32, 64, 96])
@pytest.mark.parametrize(
    "how", [{}, {"rect_mode": False}, {"resize_short": True}], ids=["rect", "stretched", "short side"]
)
def test_shared_images_are_those_that_ultralytics_loads(user_data, no_decoding, channels, imgsz, how):
    kept = images_of(dataset_of(user_data, imgsz=imgsz, channels=channels), **how)
    assert len(kept) == len(SIZES) + 6
    shared_images.share(PLENTY)
    first = images_of(dataset_of(user_data, imgsz=imgsz, channels=channels), **how)
    no_decoding()
    again = images_of(dataset_of(user_data, imgsz=imgsz, channels=channels), **how)
    assert_same(first, kept)
    assert_same(again, kept)
    assert len(entries()) == len(kept)


def test_one_folder_holds_all_sizes_and_ways_apart(user_data):
    shared_images.share(PLENTY)
    for imgsz, channels, how in ((32, 3, {}), (64, 3, {}), (64, 1, {}), (64, 3, {"rect_mode": False})):
        images_of(dataset_of(user_data, imgsz=imgsz, channels=channels), **how)
    assert len(entries()) == 4 * (len(SIZES) + 6)


def test_the_users_folder_stays_as_it_was(user_data):
    before = content(user_data)
    shared_images.share(PLENTY)
    images_of(dataset_of(user_data))
    images_of(dataset_of(user_data))
    assert content(user_data) == before


def test_a_changed_image_is_decoded_again_even_if_its_size_and_time_are_unchanged(user_data):
    path = user_data / "images" / "40x30.bmp"
    Image.new("RGB", (40, 30), (9, 9, 9)).save(path)
    (user_data / "labels" / "40x30.txt").touch()
    shared_images.share(PLENTY)
    dataset = dataset_of(user_data)
    index = dataset.im_files.index(str(path))
    assert (dataset.load_image(index)[0] == 9).all()
    before = path.stat()
    Image.new("RGB", (40, 30), (7, 7, 7)).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert (dataset.load_image(index)[0] == 7).all()


def test_an_image_that_changes_while_it_is_decoded_is_not_shared(user_data, monkeypatch):
    shared_images.share(PLENTY)
    dataset = dataset_of(user_data)
    decode = reading.imread

    def slowly(filename, flags):
        pixels = decode(filename, flags)
        os.utime(filename, ns=(1, 1))
        return pixels

    monkeypatch.setattr(reading, "imread", slowly)
    images_of(dataset)
    assert entries() == []


def test_a_deleted_image_is_reported_and_not_taken_from_the_shared_ones(user_data):
    shared_images.share(PLENTY)
    dataset = dataset_of(user_data)
    images_of(dataset)
    Path(dataset.im_files[0]).unlink()
    with pytest.raises(DataError, match=r"can no longer be decoded|no longer exists"):
        dataset.load_image(0)


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_the_caches_of_ultralytics_give_the_same_images_with_shared_ones(user_data, cache):
    expected = images_of(dataset_of(user_data))
    shared_images.share(PLENTY)
    for _ in range(2):
        dataset = dataset_of(user_data, cache=cache)
        assert dataset.cache == cache
        assert_same(images_of(dataset), expected)


def test_a_damaged_entry_is_decoded_again(user_data, no_decoding):
    expected = images_of(dataset_of(user_data))
    shared_images.share(PLENTY)
    images_of(dataset_of(user_data))
    for path, damaged in zip(entries(), (b"", b"short", bytes(5000)), strict=False):
        path.write_bytes(damaged)
    assert_same(images_of(dataset_of(user_data)), expected)
    no_decoding()
    assert_same(images_of(dataset_of(user_data)), expected)


def samples(root, epochs):
    """Yield the images of the training pipeline: mosaics, mixtures, changed colours, flips."""
    hyp = get_cfg(overrides={"mixup": 0.5, "cutmix": 0.5, "degrees": 10, "flipud": 0.5, "bgr": 0.3, "copy_paste": 0.3})
    data = {"names": {0: "a"}, "channels": 3}
    for stage_mosaic in (1.0, 0.0):
        hyp.mosaic = stage_mosaic
        dataset = determinism._RepeatableDataset(
            img_path=str(root / "images"), data=data, task="detect", imgsz=64, augment=True, hyp=hyp, batch_size=2
        )
        for epoch in range(epochs):
            partners = tuple(range(len(dataset)))
            for index in range(len(dataset)):
                yield dataset[determinism.Pick.of(index, determinism.sample_seed(0, epoch, index), partners)]["img"]


def test_augmented_images_are_the_same_bits_and_the_entries_stay_as_they_were(user_data, no_decoding):
    expected = torch.stack(list(samples(user_data, epochs=2)))
    shared_images.share(PLENTY)
    assert torch.equal(torch.stack(list(samples(user_data, epochs=2))), expected)
    before = [path.read_bytes() for path in entries()]
    no_decoding()
    assert torch.equal(torch.stack(list(samples(user_data, epochs=2))), expected)
    assert [path.read_bytes() for path in entries()] == before


def mosaics(root):
    dataset = dataset_of(root, augment=True, batch_size=1)
    random.seed(0)
    np.random.seed(0)
    loaded = [dataset[int(index)]["img"] for index in np.random.default_rng(0).integers(0, len(dataset), 40)]
    return torch.stack(loaded), list(dataset.buffer)


@pytest.mark.parametrize("held_bytes", [1, 20_000, 2**30], ids=["none", "some", "all"])
def test_images_loaded_last_are_remembered_as_ultralytics_does_with_the_pixels_that_fit(
    user_data, monkeypatch, held_bytes
):
    """Without our sampler, mosaics consist of these images."""
    monkeypatch.setattr(shared_images, "_HELD_BYTES", held_bytes)
    expected = mosaics(user_data)
    shared_images.share(PLENTY)
    for _ in range(2):
        found = mosaics(user_data)
        assert torch.equal(found[0], expected[0])
        assert found[1] == expected[1]
    dataset = dataset_of(user_data, augment=True, batch_size=100)
    images_of(dataset)
    assert len(dataset.buffer) == len(dataset) - 1
    held = sum(pixels.nbytes for pixels in dataset.ims if pixels is not None)
    assert held <= held_bytes
    assert (held > 0) == (held_bytes > 1)


def batches(root):
    dataset = dataset_of(root, augment=True, kind=determinism._RepeatableDataset)
    picks = [determinism.Pick.of(index, index + 1, tuple(range(len(dataset)))) for index in range(len(dataset))]
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=4,
        num_workers=2,
        sampler=picks,
        collate_fn=dataset.collate_fn,
        multiprocessing_context="fork",
    )
    return [batch["img"] for batch in loader]


def test_loading_processes_share_images_too(user_data):
    expected = batches(user_data)
    shared_images.share(PLENTY)
    assert_same_tensors(batches(user_data), expected)
    assert len(entries()) == len(SIZES) + 6
    before = [path.stat().st_mtime_ns for path in entries()]
    assert_same_tensors(batches(user_data), expected)
    assert [path.stat().st_mtime_ns for path in entries()] == before, "none was written again"


def assert_same_tensors(found, expected):
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


TRAINED = {"mosaic": 1.0, "mixup": 0.3, "close_mosaic": 1, "imgsz": 96}


def trained(trainer, request):
    trainer.send(request)
    records = hear_all(trainer)
    return records, checkpoints.load(epochs_of(records)[-1].checkpoint)[1]


def test_a_run_with_shared_images_is_the_same_bit_for_bit(own_trainer, make_request, tmp_path):
    """Train three times with mosaics: without the cache, while filling it, and from the cache alone."""
    plain = make_request(tmp_path / "without", epochs=3, validation_epochs=(2,), **TRAINED)
    without, weights = trained(own_trainer, plain)
    for name in ("filling", "filled"):
        request = replace(plain, directory=str(tmp_path / name), image_cache_bytes=PLENTY)
        records, found = trained(own_trainer, request)
        assert [(r.losses, r.metrics) for r in epochs_of(records)] == [
            (r.losses, r.metrics) for r in epochs_of(without)
        ], name
        same_weights(found, weights)
        assert len(entries()) == 20, "all images of both splits"
        assert "sharing decoded images" in (tmp_path / name / "trainer.log").read_text()
    assert len(list((decoded_images.folder() / "trainers").iterdir())) == 1


def same_weights(found, expected):
    mine, theirs = (checkpoint["ema"].state_dict() for checkpoint in (found, expected))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


@pytest.fixture
def own_trainer(cache_home, monkeypatch, prepared):
    """Start a fork server with the cache folder of the test."""
    process = TrainerProcess([sys.executable, "-m", "trainer", "serve"])
    yield process
    process.close()


def test_preparing_reports_how_large_the_decoded_images_are(prepared, data_yaml):
    cache = prepared.image_cache
    assert Path(cache.folder).name == "decoded"
    assert cache.num_images == 20
    images = [cv2.imread(str(path)).shape for path in data_yaml.parent.rglob("images/*/*.*")]
    assert cache.bytes_per_square == pytest.approx(sum(3 * min(h, w) / max(h, w) for h, w, _ in images))
