"""Cache of parsed labels in a folder that only we write to, in a format that runs no code.

ultralytics stores them as a pickle next to the user's labels. Reading a pickle that came with a data set runs any code
that its author put in, and the folder may be read-only or belong to another program. Importing this module makes
ultralytics' data sets use our cache, and stops them from reading or writing their own.

A cache is an `.npz` of plain arrays and one JSON text. It contains only what a detector trains on.
"""

import gc
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import ultralytics.data.dataset as stock
from numpy.typing import NDArray

from trainer.exceptions import DataError
from trainer.system.cache import cache_folder

_FORMAT = 1
_MOST_TOLD = 20
_COLUMNS = {"classes": 1, "boxes": 4, "points": 2}

logger = logging.getLogger("trainer")


def labels_of(dataset: Any, default_place: Path, fingerprint: str) -> tuple[dict[str, Any], bool]:
    """Return the labels of all images for `YOLODataset`, and whether they came from a cache.

    Sets `dataset.left_out` to the images that are missing from the result.

    Args:
        dataset: The `YOLODataset`.
        default_place: Path where ultralytics would put the cache; only named in messages.
        fingerprint: Hash of the names, sizes and times of images and label files, and of how they are read.

    Raises:
        DataError: No image can be used for training.
    """
    path = _path(dataset.im_files)
    kept = _read(path, fingerprint)
    if kept is not None:
        kept["msgs"] = _told(kept["msgs"])
        dataset.left_out = _left_out(dataset, kept)
        return kept, True
    scanned: dict[str, Any] = dataset.cache_labels(default_place)
    if not scanned["labels"]:
        first = " ".join(scanned["msgs"][0].split())[:300] if scanned["msgs"] else "the reason is unknown"
        raise DataError(f"At least one image must be readable, but none of {len(dataset.im_files)} is: {first}.")
    _write(path, fingerprint, scanned)
    dataset.left_out = _left_out(dataset, scanned)
    return scanned, False


def _left_out(dataset: Any, scanned: Mapping[str, Any]) -> list[str]:
    """List the images that ultralytics drops, which it mentions only in its log."""
    if len(scanned["labels"]) == len(dataset.im_files):
        return []
    taken = {label["im_file"] for label in scanned["labels"]}
    return [image for image in dataset.im_files if image not in taken]


def _told(messages: list[str]) -> list[str]:
    """Shorten the messages: each trial logs them, and there may be a hundred thousand images."""
    left_out = len(messages) - _MOST_TOLD
    return messages if left_out <= 0 else [*messages[:_MOST_TOLD], f"... and {left_out} more of this kind"]


def _path(images: Sequence[str]) -> Path:
    """Return one file per list of images, so that splits and fractions of a data set do not overwrite each other."""
    names = "\0".join(images).encode("utf-8", "surrogateescape")
    return cache_folder() / "labels" / f"{hashlib.sha256(names).hexdigest()[:32]}.npz"


def _read(path: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        with _no_collections(), np.load(path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if about["format"] != _about_format() or about["fingerprint"] != fingerprint:
                return None
            return _unpacked(about, arrays)
    except FileNotFoundError:
        return None
    except Exception as error:  # a partial or foreign file can be wrong in any way; write a new one
        logger.info("the label cache %s cannot be read and is built again: %s: %s", path, type(error).__name__, error)
        return None


def _write(path: Path, fingerprint: str, scanned: Mapping[str, Any]) -> None:
    """Write the cache atomically, even with concurrent writers; without a writable place, training continues."""
    draft = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.savez(file, allow_pickle=False, **_packed(fingerprint, scanned))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        logger.warning("the labels could not be cached in %s and will be read again: %s", path.parent, error)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Pause garbage collection, which takes half the time when many long-lived objects are created."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _about_format() -> str:
    return f"{_FORMAT}, ultralytics {stock.DATASET_CACHE_VERSION}"


def _packed(fingerprint: str, scanned: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Concatenate all boxes and all outline points, with the count that belongs to each."""
    labels = scanned["labels"]
    about = {
        "format": _about_format(),
        "fingerprint": fingerprint,
        "results": scanned["results"],
        "msgs": scanned["msgs"],
        "images": [label["im_file"] for label in labels],
    }
    outlines = [outline for label in labels for outline in label["segments"]]
    return {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "shapes": np.array([label["shape"] for label in labels], np.int64),
        "classes": np.concatenate([label["cls"] for label in labels]),
        "boxes": np.concatenate([label["bboxes"] for label in labels]),
        "boxes_of_image": np.array([len(label["cls"]) for label in labels], np.int64),
        "points": np.concatenate([*outlines, np.zeros((0, 2), np.float32)]),
        "points_of_outline": np.array([len(outline) for outline in outlines], np.int64),
        "outlines_of_image": np.array([len(label["segments"]) for label in labels], np.int64),
    }


def _unpacked(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    classes, boxes, points = (_numbers(arrays, name) for name in _COLUMNS)
    if len(classes) != len(boxes):
        raise ValueError("its parts do not match")
    starts = _starts(arrays["boxes_of_image"], len(classes))
    outlines = _parts(points, arrays["points_of_outline"])
    outline_starts = _starts(arrays["outlines_of_image"], len(outlines))
    labels = [
        {
            "im_file": image,
            "shape": (height, width),
            "cls": classes[start:end],
            "bboxes": boxes[start:end],
            "segments": outlines[first:last],
            "keypoints": None,
            "normalized": True,
            "bbox_format": "xywh",
        }
        for image, (height, width), (start, end), (first, last) in zip(
            about["images"], arrays["shapes"].tolist(), pairwise(starts), pairwise(outline_starts), strict=True
        )
    ]
    return {
        "labels": labels,
        "hash": about["fingerprint"],
        "version": stock.DATASET_CACHE_VERSION,
        "results": tuple(about["results"]),
        "msgs": about["msgs"],
    }


def _numbers(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    found = arrays[name]
    if found.dtype != np.float32 or found.shape != (len(found), _COLUMNS[name]):
        raise ValueError(f"its {name} are {found.dtype} {found.shape}")
    return found


def _starts(lengths: NDArray[np.int64], total: int) -> list[int]:
    """Return where each part begins and where the last one ends."""
    if (lengths < 0).any() or lengths.sum() != total:
        raise ValueError("its parts do not match")
    return [0, *np.cumsum(lengths).tolist()]


def _parts(whole: NDArray[Any], lengths: NDArray[np.int64]) -> list[NDArray[Any]]:
    starts = _starts(lengths, len(whole))
    return [whole[start:end] for start, end in pairwise(starts)]


def _read_nothing(path: Path) -> dict[str, Any]:
    raise FileNotFoundError(f"{path} is not read, because it could run code")


def _write_nothing(prefix: str, path: Path, scanned: dict[str, Any], version: str) -> None:
    scanned["version"] = version  # like the stock function, whose callers remove it again


stock.YOLODataset._load_or_scan_cache = labels_of
stock.load_dataset_cache_file = _read_nothing
stock.save_dataset_cache_file = _write_nothing
