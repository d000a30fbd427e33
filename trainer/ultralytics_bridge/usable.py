"""Every picture and label looked at before the first trial: what cannot be used is counted, and refused when many.

ultralytics leaves such pictures out without a word, and mends some where they lie. A user's own files are only ever
read: importing this module switches the mending off.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ultralytics.data.utils
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

from trainer.exceptions import DataError
from trainer.ultralytics_bridge import label_caches as _label_caches  # noqa: F401 - where the scan is kept

MAX_BROKEN_FRACTION = 0.01
"""With more broken pictures than this in one split, the data set is hardly the one that is meant."""


def scan(data: Path) -> tuple[str, ...]:
    """Let ultralytics scan and cache both splits once, so that trials starting together do not all do it.

    Returns:
        What it leaves out, one line a split.

    Raises:
        DataError: it finds no usable picture, or more than `MAX_BROKEN_FRACTION` of a split broken.
    """
    try:
        checked = check_det_dataset(str(data))
        args = get_cfg(overrides={"task": "detect", "data": str(data)})
        notes: list[str] = []
        for split in ("train", "val"):
            dataset = build_yolo_dataset(args, checked[split], batch=1, data=checked, mode=split, rect=False)
            notes += _left_out(split, Path(checked[split]).read_text("utf-8").splitlines(), dataset)
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"ultralytics cannot read the data set '{data}': {reason}") from error
    return tuple(notes)


def _left_out(split: str, pictures: list[str], dataset: Any) -> list[str]:
    """What is left out of a split whose pictures are these: one line, or none."""
    usable = set(dataset.im_files)
    broken = [path for path in pictures if path not in usable]
    if not broken:
        return []
    reason = _reason(broken[0], dataset.data)
    what = f"{len(broken)} of {len(pictures)} pictures of {split} cannot be used, the first: {reason}"
    if len(broken) > MAX_BROKEN_FRACTION * len(pictures):
        raise DataError(
            f"At most {MAX_BROKEN_FRACTION:.0%} of a split may be broken, but {what}; mend or remove them "
            "(prepare.log in the study's folder names all)."
        )
    return [f"{what}; they are left out"]


def _reason(picture: str, data: dict[str, Any]) -> str:
    """Why ultralytics leaves a picture out, in its own words on one line."""
    keypoints = data.get("kpt_shape", (0, 0))
    found = verify_image_label((picture, *img2label_paths([picture]), "", False, len(data["names"]), *keypoints, False))
    return " ".join(str(found[-1]).replace("ignoring corrupt image/label: ", "").split())[:300]


def _read_to_the_end(picture: str, write: Callable[[Any], None]) -> None:
    """Stands in for what replaces a JPEG without an end mark: decodes it, and raises where it is cut off."""
    write(io.BytesIO())


ultralytics.data.utils._replace_image = _read_to_the_end
