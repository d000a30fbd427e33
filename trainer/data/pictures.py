"""One picture file: its size as trained on, and what is wrong or odd with it.

The rules are those of ultralytics 8.4.190 (`ultralytics.data.utils.check_image`), which leaves some pictures out and
rewrites others where they lie. Here nothing is written. `test_pictures.py` holds the two side by side.
"""

import io
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, NamedTuple

from PIL import Image, UnidentifiedImageError

MIN_SIDE = 10
"""In pixels; ultralytics leaves smaller pictures out."""

FORMATS = frozenset({"AVIF", "BMP", "DNG", "HEIC", "HEIF", "JP2", "JPEG", "JPEG2000", "MPO", "PNG", "TIFF", "WEBP"})
"""By Pillow's names; what ultralytics trains on, whatever the suffix says."""

_ORIENTATION = 0x0112
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L"})
JPEG_END = b"\xff\xd9"
"""The last two bytes of a whole JPEG."""


class PictureFlaw(StrEnum):
    """What can be wrong or odd with a picture."""

    UNREADABLE = "no picture"
    TRUNCATED = "cut off"
    TOO_SMALL = "too small"
    FORMAT = "a format that is not trained on"
    TRAILING_BYTES = "more bytes after its end"
    ROTATED = "turned by its EXIF orientation"
    BAD_ORIENTATION = "an EXIF orientation that does not exist"
    GREY = "without colours"

    @property
    def loses_picture(self) -> bool:
        """Whether ultralytics leaves the picture out."""
        return self in _LOSES_PICTURE


_LOSES_PICTURE = frozenset({PictureFlaw.UNREADABLE, PictureFlaw.TRUNCATED, PictureFlaw.TOO_SMALL, PictureFlaw.FORMAT})


class FlawedPicture(NamedTuple):
    flaw: PictureFlaw
    value: str
    """What was found, for a message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFacts:
    """What is known of a picture file."""

    width: int
    height: int
    """In pixels, the EXIF orientation applied, as it is for training; 0 where it cannot be read."""
    flaws: tuple[FlawedPicture, ...]

    @property
    def is_usable(self) -> bool:
        """Whether ultralytics trains on it."""
        return not any(found.flaw.loses_picture for found in self.flaws)


def examine(file: BinaryIO) -> PictureFacts:
    """Judge the picture in a file, reading no more of it than that takes: not all of a JPEG whose end is in place."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's doubts about metadata and size; what it cannot read, it raises
            picture = Image.open(file)
            picture.verify()
            orientation = _orientation(picture)
    except UnidentifiedImageError:
        return _unreadable(f"{file.seek(0, os.SEEK_END)} bytes of no known format")
    except Exception as error:  # Pillow's readers raise whatever broken files make them stumble over
        return _unreadable(" ".join(str(error).split()) or type(error).__name__)
    width, height = reversed(picture.size) if orientation in _ON_ITS_SIDE else picture.size
    flaws = (*_oddities(picture, orientation), *_end_of_jpeg(picture, file))
    return PictureFacts(width=width, height=height, flaws=flaws)


def _unreadable(reason: str) -> PictureFacts:
    return PictureFacts(width=0, height=0, flaws=(FlawedPicture(PictureFlaw.UNREADABLE, reason),))


def _orientation(picture: Image.Image) -> int:
    """As the metadata say it; 1, upright, where they say nothing or cannot be read."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _oddities(picture: Image.Image, orientation: int) -> Iterator[FlawedPicture]:
    if min(picture.size) < MIN_SIDE:
        yield FlawedPicture(PictureFlaw.TOO_SMALL, "{} x {} pixels".format(*picture.size))
    if picture.format not in FORMATS:
        yield FlawedPicture(PictureFlaw.FORMAT, str(picture.format))
    if orientation not in range(1, 9):
        yield FlawedPicture(PictureFlaw.BAD_ORIENTATION, f"orientation {orientation}")
    elif orientation != 1:
        yield FlawedPicture(PictureFlaw.ROTATED, f"orientation {orientation}")
    if picture.mode in _GREY_MODES:
        yield FlawedPicture(PictureFlaw.GREY, f"mode {picture.mode}")


def _end_of_jpeg(picture: Image.Image, file: BinaryIO) -> Iterator[FlawedPicture]:
    """A JPEG without its end mark at the end is cut off, or whole with something after it."""
    if picture.format != "JPEG":
        return
    file.seek(-len(JPEG_END), os.SEEK_END)
    if file.read() == JPEG_END:
        return
    file.seek(0)
    content = file.read()
    try:
        Image.open(io.BytesIO(content)).load()
    except Exception as error:
        yield FlawedPicture(PictureFlaw.TRUNCATED, " ".join(str(error).split()) or type(error).__name__)
    else:
        yield FlawedPicture(PictureFlaw.TRAILING_BYTES, _after_the_end(content))


def _after_the_end(content: bytes) -> str:
    end = content.rfind(JPEG_END)
    return "no end mark" if end < 0 else f"{len(content) - end - len(JPEG_END)} bytes"
