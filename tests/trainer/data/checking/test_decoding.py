"""Decoding for the check gives the same pixels and the same refusals as in training."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from trainer.data.checking.decoding import UndecodableError, decode, opened
from trainer.ultralytics_bridge import environment

environment.configure()

from ultralytics.utils.patches import imread  # noqa: E402 - only after the environment is set

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
COLOUR = Image.fromarray(PIXELS)
GREY = COLOUR.convert("L")
FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR, 4: cv2.IMREAD_UNCHANGED}


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_opencv(suffix, pixels):
    return cv2.imencode(suffix, pixels)[1].tobytes()


def tiff(compression):
    return saved(COLOUR, "TIFF", compression=compression)


FILES = {
    "a.jpg": saved(COLOUR, "JPEG"),
    "progressive.jpg": saved(COLOUR, "JPEG", progressive=True),
    "large.jpg": saved(COLOUR.resize((800, 600)), "JPEG"),
    "cmyk.jpg": saved(COLOUR.convert("CMYK"), "JPEG"),
    "grey.jpg": saved(GREY, "JPEG"),
    "a.png": saved(COLOUR, "PNG"),
    "palette.png": saved(COLOUR.convert("P"), "PNG"),
    "grey and alpha.png": saved(COLOUR.convert("LA"), "PNG"),
    "alpha.png": saved(COLOUR.convert("RGBA"), "PNG"),
    "16 bits.png": saved(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256), "PNG"),
    "a.bmp": saved(COLOUR, "BMP"),
    "a.webp": saved(COLOUR, "WEBP"),
    "lossless.webp": saved(COLOUR, "WEBP", lossless=True),
    "a.avif": saved(COLOUR, "AVIF"),
    "avif under another name.jpg": saved(COLOUR, "AVIF"),
    "a.jp2": saved(COLOUR, "JPEG2000"),
    "a.mpo": saved(COLOUR, "MPO", save_all=True, append_images=[COLOUR]),
    "a.tif": saved(COLOUR, "TIFF"),
    "grey.tif": saved(GREY, "TIFF"),
    "one bit.tif": saved(COLOUR.convert("1"), "TIFF"),
    "alpha.tiff": saved(COLOUR.convert("RGBA"), "TIFF"),
    "pages.tif": saved(GREY, "TIFF", save_all=True, append_images=[GREY, GREY, GREY]),
    "lzw.tif": tiff("tiff_lzw"),
    "deflate.tif": tiff("tiff_adobe_deflate"),
    "zstd.tif": tiff("zstd"),
    "lzma.tif": tiff("lzma"),
    "16 bits.tif": saved(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256), "TIFF"),
    "16 bits in colour.tif": by_opencv(".tif", PIXELS.astype(np.uint16) * 256),
    "float.tif": saved(Image.fromarray(PIXELS[..., 0].astype(np.float32) / 255), "TIFF"),
    "float in colour.tif": by_opencv(".tif", PIXELS.astype(np.float32) / 255),
    "32 bits.tif": saved(Image.fromarray(PIXELS[..., 0].astype(np.int32)), "TIFF"),
    "no image.png": b"<html>404</html>",
    "empty.jpg": b"",
}


def decoded(content, name, channels, size=(80, 60)):
    try:
        return decode(content, "." + name.rpartition(".")[2], channels, size)
    except UndecodableError:
        return None


@pytest.mark.parametrize("channels", FLAGS)
@pytest.mark.parametrize("name", FILES)
def test_the_decoded_images_are_those_that_training_reads(name, channels, tmp_path):
    for part in (1.0, 0.9, 0.5, 0.2):
        content = FILES[name][: int(part * len(FILES[name]))]
        (tmp_path / name).write_bytes(content)
        expected = imread(tmp_path / name, FLAGS[channels])
        found = decoded(content, name, channels)
        assert (found is None) == (expected is None)
        assert expected is None or np.array_equal(found, expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cut", [1, 2, 100, 0.1, 0.5, 0.9])
def test_a_jpeg_decoded_at_part_of_its_size_is_refused_if_the_whole_one_is(channels, cut):
    whole = FILES["large.jpg"]
    for content in (whole, whole[: cut if cut >= 1 else int(cut * len(whole))], whole[:-2], whole + b"more"):
        small, full = (decoded(content, "a.jpg", channels, size) for size in ((800, 600), (1, 1)))
        assert (small is None) == (full is None)
        if full is not None:
            assert small.shape == (75, 100, channels)
            assert full.shape == (600, 800, channels)


@pytest.mark.parametrize("seed", range(3))
def test_damage_within_a_jpeg_is_refused_or_not_at_any_size(seed):
    numbers = np.random.default_rng(seed)
    for _ in range(40):
        content = bytearray(FILES["large.jpg"])
        for at in numbers.integers(0, len(content) if seed else 700, 3):
            content[at] = numbers.integers(256)
        small, full = (decoded(bytes(content), "a.jpg", 3, size) for size in ((800, 600), (1, 1)))
        assert (small is None) == (full is None)


def test_an_image_beyond_the_limit_of_opencv_is_refused_with_the_reason(monkeypatch):
    file = bytearray(saved(Image.new("RGB", (16, 16)), "PNG"))
    file[16:24] = (40_000).to_bytes(4) * 2  # 1.6 billion pixels; they are refused before the checksum is read
    with pytest.raises(UndecodableError, match="pixels"):
        decode(bytes(file), ".png", 3, (40_000, 40_000))


def test_heic_without_the_package_that_reads_it_is_reported_as_such():
    with pytest.raises(Exception, match="pi-heif"):
        opened(b"\0\0\0\x18ftypheic" + bytes(100))
