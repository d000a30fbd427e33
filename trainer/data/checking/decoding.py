"""Decode an image file as training does.

ultralytics 8.4.190 decodes with OpenCV, and AVIF and HEIC with Pillow (`ultralytics.utils.patches.imread`). Its steps
stand here without torch, which a check need not import; `test_decoding.py` holds the two side by side.
"""

import io
from typing import Any

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.exceptions import DataError

VERSION = f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}"
"""What decides whether a file can be decoded; a verdict of other versions does not count."""

_JPEG_START = b"\xff\xd8\xff"
_TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_PILLOW_SUFFIXES = frozenset({".avif", ".heic", ".heif"})
_LEAST_SIDE = 32
"""A JPEG is decoded at a part of its size as long as no side has less."""
_MOST_PIXELS = 50_000_000
"""Larger images are decoded whole, so that OpenCV's limit on pixels shows."""
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})

_FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}
_REDUCED_FLAGS = {
    1: {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2},
    3: {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2},
}

cv2.setNumThreads(0)  # processes share the work, and a fork loses threads


class UndecodableError(DataError):
    """OpenCV and Pillow give no pixels; the message says why, as far as they do."""


def opened(content: bytes) -> Image.Image:
    """The image as Pillow opens it, HEIC too where the package pi-heif is installed, as ultralytics does.

    Raises:
        UnidentifiedImageError: no known format.
        Exception: whatever Pillow's readers stumble over.
    """
    try:
        return Image.open(io.BytesIO(content))
    except (UnidentifiedImageError, ImportError) as error:  # the latter where ultralytics' own way is installed
        if content[4:8] != b"ftyp" or content[8:12] not in _HEIF_BRANDS:
            raise UnidentifiedImageError(f"{len(content)} bytes of no known format") from error
        try:
            from pi_heif import register_heif_opener  # type: ignore[import-not-found]  # not one of ours
        except ImportError:
            raise UnidentifiedImageError("HEIC, which takes the package pi-heif to read") from None
        register_heif_opener()
        return Image.open(io.BytesIO(content))


def decode(content: bytes, suffix: str, channels: int, size: tuple[int, int]) -> NDArray[Any]:
    """(height, width, channels): the pixels that training would get before it resizes them, blue first.

    A large JPEG is decoded at a part of its size: all its data are read, and what OpenCV refuses, it refuses at any.

    Args:
        content: of the file.
        suffix: of the file's name, in lower case; some decide on the decoder.
        channels: of the data set.
        size: of the whole image, in pixels.

    Raises:
        UndecodableError: training could not read it.
    """
    try:
        pixels: NDArray[Any] | None = _decoded(content, suffix, channels, size)
    except cv2.error as error:
        raise UndecodableError(" ".join(str(error.err or error).split())) from error
    if pixels is None:
        raise UndecodableError("OpenCV gives no pixels")
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _decoded(content: bytes, suffix: str, channels: int, size: tuple[int, int]) -> Any:
    is_tiff = suffix in _TIFF_SUFFIXES
    if is_tiff and channels != 1:
        page = _first_page(content, stacked=channels not in _FLAGS)
        if page is not None:
            return page if channels not in _FLAGS else page[..., :3]
    if suffix in _PILLOW_SUFFIXES:
        pixels = _by_pillow(content, grey=channels == 1)
        if pixels is not None:
            return pixels
    flags = _FLAGS.get(channels, cv2.IMREAD_UNCHANGED)
    if content.startswith(_JPEG_START) and not is_tiff and size[0] * size[1] <= _MOST_PIXELS:
        reduced = _REDUCED_FLAGS.get(channels, {})
        flags = next((reduced[by] for by in reduced if min(size) >= by * _LEAST_SIDE), flags)
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def _first_page(content: bytes, *, stacked: bool) -> Any:
    """The first page of a TIFF in colours, or where asked for, grey pages of one size as channels; else none."""
    success, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if success and pages[0].ndim == 3:
        return pages[0]
    if success and stacked and len(pages) > 1 and all(page.shape == pages[0].shape for page in pages):
        return np.stack(pages, axis=2)
    return None


def _by_pillow(content: bytes, *, grey: bool) -> Any:
    """None where Pillow cannot: OpenCV is asked then."""
    try:
        with ImageOps.exif_transpose(opened(content)) as image:
            if grey:
                return np.asarray(image.convert("L"))
            return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    except Exception:
        return None
