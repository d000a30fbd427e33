"""Check one image file: its size in training, and its flaws.

The rules are those of ultralytics 8.4.190 (`ultralytics.data.utils.check_image`), which skips some images and rewrites
others in place. This module writes nothing. `test_images.py` compares the two. One rule is added: an image is usable
only if `decoding` can decode it to the input of the model, because ultralytics' check passes files whose decoding then
crashes its training.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.checking.decoding import UndecodableError, decode, opened

MIN_SIDE = 10
"""Minimum side in pixels; ultralytics skips smaller images."""

FORMATS = frozenset({"AVIF", "BMP", "DNG", "HEIC", "HEIF", "JP2", "JPEG", "JPEG2000", "MPO", "PNG", "TIFF", "WEBP"})
"""Formats that ultralytics trains on, by Pillow's names; the suffix of the file does not matter."""

_ORIENTATION = 0x0112
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L"})
_DEEP_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
JPEG_END = b"\xff\xd9"
"""Last two bytes of a complete JPEG."""
SMALL_SIDE = 16
"""Side of the small grey versions in pixels; larger ones miss slightly cropped images, smaller ones differences."""


class ImageFlaw(StrEnum):
    """Flaws and oddities of an image."""

    UNREADABLE = "not an image"
    TRUNCATED = "truncated"
    UNDECODABLE = "cannot be decoded in training"
    SAMPLES = "samples are not 8-bit or 16-bit integers"
    CHANNELS = "number of channels differs from that of the data set"
    TOO_SMALL = "too small"
    FORMAT = "a format that training does not support"
    TRAILING_BYTES = "extra bytes after its end"
    ROTATED = "rotated by its EXIF orientation"
    BAD_ORIENTATION = "an invalid EXIF orientation"
    GREY = "greyscale"
    DEEP = "16 bits per channel"

    @property
    def loses_image(self) -> bool:
        """True if the image cannot be trained on."""
        return self in _LOSES_IMAGE


_LOSES_IMAGE = frozenset(
    {ImageFlaw.UNREADABLE, ImageFlaw.TRUNCATED, ImageFlaw.TOO_SMALL, ImageFlaw.FORMAT}
    | {ImageFlaw.UNDECODABLE, ImageFlaw.SAMPLES, ImageFlaw.CHANNELS}
)


class FlawedImage(NamedTuple):
    flaw: ImageFlaw
    value: str
    """Description of the flaw for a message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """Facts about an image file."""

    width: int
    height: int
    """Size in pixels after applying the EXIF orientation, as in training; 0 if the image cannot be read."""
    flaws: tuple[FlawedImage, ...]
    small: bytes = b""
    """Small grey version, row by row; empty if training cannot decode the image."""


def examine(content: bytes, suffix: str, channels: int = 3) -> ImageFacts:
    """Check the content of an image file.

    Args:
        content: the whole file.
        suffix: suffix of the file name, in lower case.
        channels: number of channels of the data set.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow warns about metadata and size, and raises if it cannot read an image
            image = opened(content)
            image.verify()
            orientation = _orientation(image)
    except Exception as error:  # Pillow's readers raise any type of exception on broken files
        return _unreadable(" ".join(str(error).split()) or type(error).__name__)
    width, height = reversed(image.size) if orientation in _ON_ITS_SIDE else image.size
    flaws = [*_oddities(image, orientation, channels), *_end_of_jpeg(image, content)]
    small = b""
    if not any(found.flaw.loses_image for found in flaws):
        try:
            pixels = decode(content, suffix, channels, image.size)
        except UndecodableError as error:
            flaws.append(_undecodable(image, content, str(error)))
        else:
            flaws += _unfit(pixels, channels)
            small = _small(pixels)
    return ImageFacts(width=width, height=height, flaws=tuple(flaws), small=small)


def size_of(file: Path) -> tuple[int, int]:
    """Return width and height in pixels as `examine` does, from the beginning of the file; 0 if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                width, height = image.size
                return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)
    except Exception:  # as above; the check reports the reason
        return 0, 0


def _unreadable(reason: str) -> ImageFacts:
    return ImageFacts(width=0, height=0, flaws=(FlawedImage(ImageFlaw.UNREADABLE, reason),))


def _orientation(image: Image.Image) -> int:
    """Return the orientation in the metadata; 1 (upright) if there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _oddities(image: Image.Image, orientation: int, channels: int) -> Iterator[FlawedImage]:
    if min(image.size) < MIN_SIDE:
        yield FlawedImage(ImageFlaw.TOO_SMALL, "{} x {} pixels".format(*image.size))
    if image.format not in FORMATS:
        yield FlawedImage(ImageFlaw.FORMAT, str(image.format))
    if orientation not in range(1, 9):
        yield FlawedImage(ImageFlaw.BAD_ORIENTATION, f"orientation {orientation}")
    elif orientation != 1:
        yield FlawedImage(ImageFlaw.ROTATED, f"orientation {orientation}")
    if channels == 3 and image.mode in _GREY_MODES:
        yield FlawedImage(ImageFlaw.GREY, f"mode {image.mode}")
    if image.mode in _DEEP_MODES:
        yield FlawedImage(ImageFlaw.DEEP, f"mode {image.mode}")


def _end_of_jpeg(image: Image.Image, content: bytes) -> Iterator[FlawedImage]:
    """Check a JPEG without an end mark at its end: it is truncated, or has extra bytes."""
    if image.format != "JPEG" or content.endswith(JPEG_END):
        return
    if reason := _why_not_loaded(content):
        yield FlawedImage(ImageFlaw.TRUNCATED, reason)
    else:
        yield FlawedImage(ImageFlaw.TRAILING_BYTES, _after_the_end(content))


def _why_not_loaded(content: bytes) -> str:
    """Return the reason why Pillow cannot read the whole image; empty if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened(content).load()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _undecodable(image: Image.Image, content: bytes, reason: str) -> FlawedImage:
    """Name the flaw: truncated if Pillow cannot decode the image either, else a kind that OpenCV does not support."""
    if missing := _why_not_loaded(content):
        return FlawedImage(ImageFlaw.TRUNCATED, missing)
    packed = image.info.get("compression", "raw")
    kind = f"{image.format} of mode {image.mode}{'' if packed == 'raw' else f' with {packed} compression'}"
    return FlawedImage(ImageFlaw.UNDECODABLE, f"{kind}: {reason}")


def _unfit(pixels: NDArray[Any], channels: int) -> Iterator[FlawedImage]:
    """Check that the decoded pixels are of the kind that the model takes."""
    if pixels.dtype != np.uint8:
        yield FlawedImage(ImageFlaw.SAMPLES, f"{pixels.dtype} samples")
    if pixels.shape[2] != channels:
        yield FlawedImage(ImageFlaw.CHANNELS, f"{pixels.shape[2]} channels, not {channels}")


def _small(pixels: NDArray[Any]) -> bytes:
    if pixels.dtype != np.uint8:
        return b""
    grey = cv2.cvtColor(pixels[..., :3], cv2.COLOR_BGR2GRAY) if pixels.shape[2] >= 3 else pixels[..., 0]
    return bytes(cv2.resize(grey, (SMALL_SIDE, SMALL_SIDE), interpolation=cv2.INTER_AREA))


def _after_the_end(content: bytes) -> str:
    end = content.rfind(JPEG_END)
    return "no end mark" if end < 0 else f"{len(content) - end - len(JPEG_END)} bytes"
