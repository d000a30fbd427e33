"""Images read for training: one that cannot be is the data's fault, and named.

ultralytics raises FileNotFoundError for a file that is cut off, lets OpenCV's own errors pass, and trains on samples of
another kind than 8 bits as they come. The check has decoded every image before, so what is met here has changed since.
Importing this module makes ultralytics' data sets read by `read`.
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
    """The image as ultralytics decodes it.

    Raises:
        DataError: it cannot be decoded, or not to samples of 8 bits.
    """
    try:
        pixels: NDArray[Any] | None = imread(filename, flags)
    except cv2.error as error:
        raise DataError(_told(filename, " ".join(str(error.err or error).split()))) from error
    if pixels is None:
        raise DataError(_told(filename, "OpenCV gives no pixels"))
    if pixels.dtype != np.uint8:
        raise DataError(_told(filename, f"its samples are {pixels.dtype}"))
    return pixels


def _told(filename: str, reason: str) -> str:
    return (
        f"Every image must stay as it was checked, but {filename} cannot be decoded any more ({reason}); "
        "put it back, or run `tune data check`."
    )


_load_image = BaseDataset.load_image


def _load(dataset: Any, index: int, *args: Any, **kwargs: Any) -> Any:
    """An image that has vanished is noticed by its time of change, before it is read."""
    try:
        return _load_image(dataset, index, *args, **kwargs)
    except FileNotFoundError as error:
        raise DataError(_told(dataset.im_files[index], "it is gone")) from error


ultralytics.data.base.imread = read
BaseDataset.load_image = _load
