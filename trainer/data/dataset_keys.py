"""Keys of a data set YAML other than paths and names: honoured, refused, or ignored with a note.

These are the keys that ultralytics 8.4.190 acts on (`check_det_dataset`, its data sets and augmentations), and training
arguments that people write here without effect. ultralytics ignores all other keys too; they cause no note.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from trainer.exceptions import DataError

MAX_CHANNELS = 256
"""Maximum number of channels."""


class Keypoints(NamedTuple):
    """Layout of the keypoints in each label row, from `kpt_shape`."""

    number: int
    dimensions: int
    """Values per keypoint. 2: x and y; 3: with visibility."""

    @property
    def columns(self) -> int:
        """Number of columns after the box."""
        return self.number * self.dimensions


class RefusedKeyError(DataError):
    """Invalid value of a key, with the rule and the remedy; the caller adds the position in the file."""

    def __init__(self, key: str, rule: str, remedy: str) -> None:
        super().__init__(f"{rule}; {remedy}")
        self.key, self.rule, self.remedy = key, rule, remedy


_OTHER_TASKS = {
    "flip_idx": "keypoints",
    "kpt_names": "keypoints",
    "masks_dir": "semantic segmentation",
    "label_mapping": "semantic segmentation",
    "bg_class_idx": "semantic segmentation",
    "depth_scale": "depth estimation",
    "max_depth": "depth estimation",
}
_ARGUMENTS = frozenset(
    {"agnostic_nms", "amp", "augment", "batch", "cache", "classes", "close_mosaic", "copy_paste", "degrees", "device"}
    | {"epochs", "fliplr", "flipud", "fraction", "freeze", "hsv_h", "hsv_s", "hsv_v", "imgsz", "lr0", "lrf", "mixup"}
    | {"momentum", "mosaic", "multi_scale", "optimizer", "patience", "rect", "scale", "seed", "single_cls", "workers"}
)


def channels_of(document: Mapping[str, object]) -> int:
    """Return the number of channels of the images.

    Raises:
        RefusedKeyError: The number of channels is invalid.
    """
    value = document.get("channels")
    if value is None:
        return 3
    number = _whole(value)
    if number is None or not 1 <= number <= MAX_CHANNELS:
        rule = f"channels must be the number of channels of the images, 1 to {MAX_CHANNELS}, but got"
        raise RefusedKeyError(
            "channels", rule, "write 3 for colour images or 1 for greyscale images, or delete the line"
        )
    return number


def keypoints_of(document: Mapping[str, object]) -> Keypoints | None:
    """Return the layout of the keypoints that follow each box, or None if `kpt_shape` is not given.

    Raises:
        RefusedKeyError: The shape is invalid.
    """
    value = document.get("kpt_shape")
    if value is None:
        return None
    numbers = [_whole(item) for item in value] if isinstance(value, list) else []
    if len(numbers) != 2 or numbers[0] is None or numbers[0] < 1 or numbers[1] not in (2, 3):
        rule = "kpt_shape must be the number of keypoints and 2 or 3 values per keypoint, but got"
        raise RefusedKeyError(
            "kpt_shape", rule, "write it as 'kpt_shape: [17, 3]', or delete the line if the labels are boxes"
        )
    return Keypoints(number=numbers[0], dimensions=numbers[1])


def passed_over(document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield each key that looks effective but changes nothing here, with an explanation."""
    for key, value in document.items():
        if value is None:
            continue
        if key == "kpt_shape":
            yield key, "a detector trains on the boxes of these labels and ignores the keypoints"
        elif key in _OTHER_TASKS:
            yield key, f"{key} is for {_OTHER_TASKS[key]} and has no effect on a detector"
        elif key == "task" and str(value).strip().lower() not in ("detect", "detection"):
            yield key, f"task is ignored: only detectors are supported, but got {value!r:.40}"
        elif key in _ARGUMENTS:
            yield key, f"{key} is a training argument and has no effect in a data set file, nor does it in ultralytics"


def _whole(value: object) -> int | None:
    """Parse a whole number; some tools write '4' or 4.0."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
        return int(number) if number == int(number) else None
    except (ValueError, OverflowError):
        return None
