"""One image file: its size as trained on, and what is wrong or odd with it.

The rules are those of ultralytics 8.4.190 (`ultralytics.data.utils.check_image`), which leaves some images out and
rewrites others where they lie. Here nothing is written. `test_images.py` holds the two side by side. One rule is
ours: an image counts as usable only when `decoding` has decoded it to what the model takes, for ultralytics' check
passes files whose decoding ends its training.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.checking.decoding import UndecodableError, decode, opened

MIN_SIDE = 10
"""In pixels; ultralytics leaves smaller images out."""

FORMATS = frozenset({"AVIF", "BMP", "DNG", "HEIC", "HEIF", "JP2", "JPEG", "JPEG2000", "MPO", "PNG", "TIFF", "WEBP"})
"""By Pillow's names; what ultralytics trains on, whatever the suffix says."""

_ORIENTATION = 0x0112
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L"})
_DEEP_MODES = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
JPEG_END = b"\xff\xd9"
"""The last two bytes of a whole JPEG."""
SMALL_SIDE = 16
"""Of the small grey versions, in pixels: finer ones lose what is cropped a little, coarser ones what differs."""


class ImageFlaw(StrEnum):
    """What can be wrong or odd with an image."""

    UNREADABLE = "no image"
    TRUNCATED = "cut off"
    UNDECODABLE = "nothing that training can decode"
    SAMPLES = "no samples of 8 or 16 bits"
    CHANNELS = "another number of channels than the data set has"
    TOO_SMALL = "too small"
    FORMAT = "a format that is not trained on"
    TRAILING_BYTES = "more bytes after its end"
    ROTATED = "turned by its EXIF orientation"
    BAD_ORIENTATION = "an EXIF orientation that does not exist"
    GREY = "without colours"
    DEEP = "16 bits a channel"

    @property
    def loses_image(self) -> bool:
        """Whether the image cannot be trained on."""
        return self in _LOSES_IMAGE


_LOSES_IMAGE = frozenset(
    {ImageFlaw.UNREADABLE, ImageFlaw.TRUNCATED, ImageFlaw.TOO_SMALL, ImageFlaw.FORMAT}
    | {ImageFlaw.UNDECODABLE, ImageFlaw.SAMPLES, ImageFlaw.CHANNELS}
)


class FlawedImage(NamedTuple):
    flaw: ImageFlaw
    value: str
    """What was found, for a message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFacts:
    """What is known of an image file."""

    width: int
    height: int
    """In pixels, the EXIF orientation applied, as it is for training; 0 where it cannot be read."""
    flaws: tuple[FlawedImage, ...]
    small: bytes = b""
    """Its small grey version, row by row; empty where training cannot decode it."""


def examine(content: bytes, suffix: str, channels: int = 3) -> ImageFacts:
    """Judge the content of an image file.

    Args:
        content: the whole file.
        suffix: of its name, in lower case.
        channels: that the data set has.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's doubts about metadata and size; what it cannot read, it raises
            image = opened(content)
            image.verify()
            orientation = _orientation(image)
    except Exception as error:  # Pillow's readers raise whatever broken files make them stumble over
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


def _unreadable(reason: str) -> ImageFacts:
    return ImageFacts(width=0, height=0, flaws=(FlawedImage(ImageFlaw.UNREADABLE, reason),))


def _orientation(image: Image.Image) -> int:
    """As the metadata say it; 1, upright, where they say nothing or cannot be read."""
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
    """A JPEG without its end mark at the end is cut off, or whole with something after it."""
    if image.format != "JPEG" or content.endswith(JPEG_END):
        return
    if reason := _why_not_loaded(content):
        yield FlawedImage(ImageFlaw.TRUNCATED, reason)
    else:
        yield FlawedImage(ImageFlaw.TRAILING_BYTES, _after_the_end(content))


def _why_not_loaded(content: bytes) -> str:
    """Why Pillow cannot read all of it; empty where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened(content).load()
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _undecodable(image: Image.Image, content: bytes, reason: str) -> FlawedImage:
    """What neither decodes is cut off; what Pillow alone decodes is of a kind that OpenCV does not know."""
    if missing := _why_not_loaded(content):
        return FlawedImage(ImageFlaw.TRUNCATED, missing)
    packed = image.info.get("compression", "raw")
    kind = f"{image.format} of mode {image.mode}{'' if packed == 'raw' else f', packed by {packed}'}"
    return FlawedImage(ImageFlaw.UNDECODABLE, f"{kind}: {reason}")


def _unfit(pixels: NDArray[Any], channels: int) -> Iterator[FlawedImage]:
    """What is decoded, and not to what the model takes."""
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
