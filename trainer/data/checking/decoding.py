"""Decode an image file as training does.

ultralytics 8.4.190 decodes with OpenCV, and AVIF and HEIC with Pillow (`ultralytics.utils.patches.imread`). This module
repeats its steps without torch, so that a check need not import torch. `test_decoding.py` compares the two.
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
"""Versions that decide whether a file can be decoded; results of other versions do not count."""

_JPEG_START = b"\xff\xd8\xff"
_TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_PILLOW_SUFFIXES = frozenset({".avif", ".heic", ".heif"})
_LEAST_SIDE = 32
"""Minimum side in pixels of a JPEG that is decoded at a fraction of its size."""
_MOST_PIXELS = 50_000_000
"""Larger images are decoded at full size, so that OpenCV's limit on pixels takes effect."""
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})

_FLAGS = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}
_REDUCED_FLAGS = {
    1: {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2},
    3: {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2},
}

cv2.setNumThreads(0)  # processes share the work, and threads do not survive a fork


class UndecodableError(DataError):
    """OpenCV and Pillow cannot decode a file; the message gives their reason if they report one."""


def opened(content: bytes) -> Image.Image:
    """Open an image with Pillow, like ultralytics. HEIC needs the package pi-heif.

    Raises:
        UnidentifiedImageError: the format is unknown.
        Exception: any other error of Pillow's readers.
    """
    try:
        return Image.open(io.BytesIO(content))
    except (UnidentifiedImageError, ImportError) as error:  # ultralytics' patched opener raises ImportError
        if content[4:8] != b"ftyp" or content[8:12] not in _HEIF_BRANDS:
            raise UnidentifiedImageError(f"{len(content)} bytes in an unknown format") from error
        try:
            from pi_heif import register_heif_opener  # type: ignore[import-not-found]  # not a dependency
        except ImportError:
            raise UnidentifiedImageError("HEIC needs the package pi-heif") from None
        register_heif_opener()
        return Image.open(io.BytesIO(content))


def decode(content: bytes, suffix: str, channels: int, size: tuple[int, int]) -> NDArray[Any]:
    """Decode the pixels that training would get before it resizes them: (height, width, channels), blue first.

    A large JPEG is decoded at a fraction of its size. This reads all its data, and OpenCV refuses the
    same files as at full size.

    Args:
        content: content of the file.
        suffix: suffix of the file name, in lower case; some suffixes decide on the decoder.
        channels: number of channels of the data set.
        size: width and height of the whole image, in pixels.

    Raises:
        UndecodableError: training could not read the image.
    """
    try:
        pixels: NDArray[Any] | None = _decoded(content, suffix, channels, size)
    except cv2.error as error:
        raise UndecodableError(" ".join(str(error.err or error).split())) from error
    if pixels is None:
        raise UndecodableError("OpenCV returns no pixels")
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
    """Return the first page of a colour TIFF, or if `stacked`, grey pages of one size as channels; else None."""
    success, pages = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if success and pages[0].ndim == 3:
        return pages[0]
    if success and stacked and len(pages) > 1 and all(page.shape == pages[0].shape for page in pages):
        return np.stack(pages, axis=2)
    return None


def _by_pillow(content: bytes, *, grey: bool) -> Any:
    """Decode with Pillow; None if it fails, and OpenCV is tried instead."""
    try:
        with ImageOps.exif_transpose(opened(content)) as image:
            if grey:
                return np.asarray(image.convert("L"))
            return cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR)
    except Exception:
        return None
