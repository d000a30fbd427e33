"""ultralytics' own scan of a data set, which must agree with the data check.

ultralytics drops images silently and repairs some in place. We only ever read a user's files: importing this module
turns the repair off.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import ultralytics.data.utils
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

from trainer.exceptions import DataError
from trainer.ultralytics_bridge import label_caches as _label_caches  # noqa: F401 - stores the scan


class DecodedSize(NamedTuple):
    """Size of the images of a data set, decoded and resized as training does without `rect`."""

    num_images: int
    bytes_per_square: float
    """Bytes of all images, divided by the square of `imgsz`."""


def scan(data: Path) -> DecodedSize:
    """Let ultralytics scan and cache both splits once, so that trials that start together need not repeat it.

    Args:
        data: YAML of a data set without the images that the check has excluded.

    Returns:
        The size of the images of both splits after decoding.

    Raises:
        DataError: ultralytics finds no usable image, or drops one more image.
    """
    try:
        checked = check_det_dataset(str(data))
        args = get_cfg(overrides={"task": "detect", "data": str(data)})
        num_images, bytes_per_square = 0, 0.0
        for split in ("train", "val"):
            dataset = build_yolo_dataset(args, checked[split], batch=1, data=checked, mode=split, rect=False)
            require_all(dataset)
            sides = np.array([label["shape"] for label in dataset.labels], np.float64)
            num_images += len(sides)
            bytes_per_square += float((sides.min(axis=1) / sides.max(axis=1)).sum()) * dataset.channels
        return DecodedSize(num_images, bytes_per_square)
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"ultralytics cannot read the data set '{data}': {reason}") from error


def require_all(dataset: Any) -> None:
    """Refuse a data set from which ultralytics drops images: an image that passed the check has changed since.

    Raises:
        DataError: ultralytics has dropped an image.
    """
    if not dataset.left_out:
        return
    first, number = dataset.left_out[0], len(dataset.left_out)
    more = f", and {number - 1} more" if number > 1 else ""
    raise DataError(
        f"Images and label files must not change after the check, but {first} can no longer be used "
        f"({_reason(first, dataset.data)}){more}; restore it, or run `tune data check`."
    )


def _reason(image: str, data: dict[str, Any]) -> str:
    """Return ultralytics' own reason for dropping an image, on one line."""
    keypoints = data.get("kpt_shape", (0, 0))
    found = verify_image_label((image, *img2label_paths([image]), "", False, len(data["names"]), *keypoints, False))
    reason = str(found[-1]).removeprefix(f"{image}: ").removeprefix("ignoring corrupt image/label: ")
    return " ".join(reason.split())[:200]


def _read_to_the_end(image: str, write: Callable[[Any], None]) -> None:
    """Decode a JPEG without an end mark instead of replacing it; raises if the file is truncated."""
    write(io.BytesIO())


ultralytics.data.utils._replace_image = _read_to_the_end
