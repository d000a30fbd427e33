"""Images decoded and resized once for all runs on this machine, instead of by each run in each epoch.

ultralytics keeps decoded images in the memory of one run (`cache: ram`), or at full size on the disk (`cache: disk`).
Importing this module makes its data sets take an image as `load_image` returns it from `trainer.system.decoded_images`,
once `share` was called. A run gets the same pixels with and without them.
"""

import hashlib
import logging
import os
from typing import Any

import cv2
import PIL
import ultralytics
from ultralytics.data.base import BaseDataset

from trainer.system.decoded_images import Decoded, DecodedImages, folder
from trainer.ultralytics_bridge import reading as _reading  # noqa: F401 - decodes what is not there

logger = logging.getLogger("trainer")

_DECODERS = f"ultralytics {ultralytics.__version__}, OpenCV {cv2.__version__}, Pillow {PIL.__version__}"
"""Versions that decide about pixels: with others, an image has other entries."""

_HELD_BYTES = 64 * 2**20
"""Memory of a loading process for the images that it loaded last, which mosaics are made of. ultralytics keeps up to a
thousand images there; reading one again takes a fifth of a millisecond."""

_shared: DecodedImages | None = None


def share(bound_bytes: int) -> None:
    """Share decoded images from now on in this process and its forks, or no longer if the bound is 0."""
    global _shared
    _shared = DecodedImages(bound_bytes) if bound_bytes else None
    if _shared is not None:
        _shared.tidy()
        logger.info("sharing decoded images in %s, at most %.1f GiB", folder(), bound_bytes / 2**30)


def _key(dataset: Any, index: int, *how: object) -> str | None:
    """Return the name of an image's entry; None if the image cannot be found.

    The kernel sets the time of change (ctime) itself, so that a new content is noticed even if it has the old size and
    a program has restored the time of modification. A hash of the content would mean reading each file in each epoch.
    """
    image = dataset.im_files[index]
    try:
        status = os.stat(image)  # noqa: PTH116 - called very often
    except OSError:
        return None
    state = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    facts = repr((_DECODERS, os.path.abspath(image), state, dataset.cv2_flag, dataset.imgsz, how))  # noqa: PTH100
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _load(dataset: Any, i: int, rect_mode: bool = True, resize_short: bool = False) -> Any:
    """Return pixels, original and resized size of an image as `load_image` does."""
    shared = _shared
    if shared is None or dataset.ims[i] is not None:
        return _load_image(dataset, i, rect_mode, resize_short)
    key = _key(dataset, i, rect_mode, resize_short)
    found = None if key is None else shared.get(key)
    if found is not None:
        _remember(dataset, i, found)
        return found.pixels, found.original, found.pixels.shape[:2]
    loaded = _load_image(dataset, i, rect_mode, resize_short)
    if key is not None and key == _key(dataset, i, rect_mode, resize_short):  # it did not change meanwhile
        shared.add(key, Decoded(loaded[0], loaded[1]))
    return loaded


def _remember(dataset: Any, index: int, found: Decoded) -> None:
    """Note the image as one of those loaded last, as ultralytics does, but keep the pixels of no more than fit."""
    if not dataset.augment or dataset.cache == "ram" or dataset.im_hw0[index] is not None:
        return
    dataset.im_hw0[index], dataset.im_hw[index] = found.original, found.pixels.shape[:2]
    if index % -(-dataset.max_buffer_length * found.pixels.nbytes // _HELD_BYTES) == 0:  # one in that many
        dataset.ims[index] = found.pixels
    dataset.buffer.append(index)
    if 1 < len(dataset.buffer) >= dataset.max_buffer_length:
        last = dataset.buffer.pop(0)
        dataset.ims[last] = dataset.im_hw0[last] = dataset.im_hw[last] = None


_load_image = BaseDataset.load_image
BaseDataset.load_image = _load
