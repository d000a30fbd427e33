"""Image reading for training: an unreadable image is reported by name as an error of the data.

ultralytics raises FileNotFoundError for a truncated file, passes on OpenCV's own errors, and trains on samples that are
not 8 bits as they are. The check has decoded every image before, so an unreadable image has changed since. Importing
this module makes ultralytics' data sets read with `read`.
"""

from typing import Any

import cv2
import numpy as np
import ultralytics.data.base
from numpy.typing import NDArray
from ultralytics.data.base import BaseDataset
from ultralytics.utils.patches import imread

from trainer.exceptions import DataError


def read(filename: str, flags: int = cv2.IMREAD_COLOR) -> NDArray[Any]:
    """Return the image as ultralytics decodes it.

    Raises:
        DataError: It cannot be decoded, or not to 8-bit samples.
    """
    try:
        pixels: NDArray[Any] | None = imread(filename, flags)
    except cv2.error as error:
        raise DataError(_told(filename, " ".join(str(error.err or error).split()))) from error
    if pixels is None:
        raise DataError(_told(filename, "OpenCV returns no pixels"))
    if pixels.dtype != np.uint8:
        raise DataError(_told(filename, f"its samples are {pixels.dtype}"))
    return pixels


def _told(filename: str, reason: str) -> str:
    return (
        f"Images must not change after the check, but {filename} can no longer be decoded ({reason}); "
        "restore it, or run `tune data check`."
    )


_load_image = BaseDataset.load_image


def _load(dataset: Any, index: int, *args: Any, **kwargs: Any) -> Any:
    """Load an image; a deleted one is noticed by its modification time, before it is read."""
    try:
        return _load_image(dataset, index, *args, **kwargs)
    except FileNotFoundError as error:
        raise DataError(_told(dataset.im_files[index], "it no longer exists")) from error


ultralytics.data.base.imread = read
BaseDataset.load_image = _load
