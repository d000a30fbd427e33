"""Fit the data loaders of a search into shared memory, through which they pass batches. Pure functions.

A container of Docker has 64 MiB of it by default. When it is full, a loader dies of a bus error.
"""

import math
from pathlib import Path

from tuner.exceptions import MachineError

SHARED_MEMORY = Path("/dev/shm")
"""File system of shared memory on Linux."""

_CHANNELS = 3
_SHARE = 0.8
"""Share of the free shared memory to use; labels and other programs need some of it."""


def loaders_bytes(loaders: int, batch: int, imgsz: int) -> int:
    """Return the shared memory of one trial in bytes.

    ultralytics lets each training loader prepare 4 batches, and each validation loader 2 batches of twice the size.
    Our trainer starts half as many loaders for validation as for training, but at least 2.
    """
    batches = 4 * loaders + 4 * 2 * max(loaders // 4, 1)
    return batches * batch * _CHANNELS * imgsz**2


def fitting_loaders(wanted: int, *, trials: int, batch: int, imgsz: int, num_images: int, free_bytes: int) -> int:
    """Return how many training loaders each trial may have.

    Args:
        wanted: Loaders of each trial that the processor has room for.
        trials: Trials that train at the same time.
        batch: Largest batch of the search.
        imgsz: Largest image size of the search, in pixels.
        num_images: Training images; a loader without a batch of its own is not started.
        free_bytes: Free shared memory.

    Raises:
        MachineError: Not even one fits.
    """
    useful = min(wanted, math.ceil(num_images / batch))
    for loaders in range(useful, 0, -1):
        if trials * loaders_bytes(loaders, min(batch, num_images), imgsz) <= _SHARE * free_bytes:
            return wanted if loaders == useful else loaders
    needed_bytes = trials * loaders_bytes(1, min(batch, num_images), imgsz) / _SHARE
    raise MachineError(
        f"Data loaders of {trials} trial(s) with batch {batch} at imgsz {imgsz} need {needed_bytes / 2**20:,.0f} MiB "
        f"of shared memory (/dev/shm), but {free_bytes / 2**20:,.0f} MiB are free; give a container more (`docker run "
        "--shm-size=16g`, or `--ipc=host`), or enlarge /dev/shm."
    )
