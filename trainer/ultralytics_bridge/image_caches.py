"""Cache of decoded images (`cache: disk`) in a folder that only we write to.

ultralytics stores them as `.npy` next to the user's images. In every mode it takes a file with a matching name for the
decoded image and deletes the file if it is not one. That file may belong to the user, because depth maps and embeddings
use the same names. Importing this module redirects ultralytics' data sets to our folder. The files are plain arrays:
reading one runs no code.
"""

import hashlib
import logging
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.data.base import BaseDataset

from trainer.system.cache import cache_folder
from trainer.ultralytics_bridge.reading import read

_SAMPLED = 30
_MARGIN = 1.1

logger = logging.getLogger("trainer")


def _folder() -> Path:
    return cache_folder() / "images"


def _file(image: str) -> Path:
    """Return the cache file, whose name changes with the image, so that an existing file is always valid."""
    try:
        status = os.stat(image)  # noqa: PTH116 - called very often
        state = f"{status.st_size}:{status.st_mtime_ns}"
    except OSError:  # gone meanwhile: reading it will report that
        state = "gone"
    digest = hashlib.sha256(os.fsencode(image) + b"\0" + state.encode()).hexdigest()[:32]
    return _folder() / digest[:2] / f"{digest}.npy"


def _kept(dataset: Any) -> list[Path]:
    files: list[Path] = vars(dataset)["npy_files"]
    return files


def _keep(dataset: Any, default_place: object) -> None:
    vars(dataset)["npy_files"] = [_file(image) for image in dataset.im_files]


def _has_room(dataset: Any) -> bool:
    """Check whether the images not cached yet fit on the disk; if not, the data set does without a cache."""
    missing = [name for name, file in zip(dataset.im_files, dataset.npy_files, strict=True) if not file.exists()]
    sample = [read(name, flags=dataset.cv2_flag) for name in missing[:: len(missing) // _SAMPLED + 1]]
    sizes = [image.nbytes for image in sample]
    needed = _MARGIN * len(missing) * sum(sizes) / max(len(sizes), 1)
    try:
        _folder().mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(_folder()).free
    except OSError as error:
        logger.warning("decoded images are not cached: %s", error)
        free = -1
    if needed > free >= 0:
        told = needed / 2**30, free / 2**30, _folder()
        logger.warning("decoded images are not cached: they need %.1f GiB, but %.1f GiB are free for %s", *told)
    fits = bool(needed <= free)
    if not fits:
        dataset.cache = None
    return fits


def _keep_decoded(dataset: Any, index: int) -> None:
    file: Path = dataset.npy_files[index]
    if file.exists():
        return
    pixels = read(dataset.im_files[index], flags=dataset.cv2_flag)
    draft = file.with_name(f".{file.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as target:
            np.save(target, pixels, allow_pickle=False)
        draft.replace(file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        logger.warning("the decoded image %s is not cached: %s", dataset.im_files[index], error)


BaseDataset.npy_files = property(_kept, _keep)
BaseDataset.check_cache_disk = _has_room
BaseDataset.cache_images_to_disk = _keep_decoded
