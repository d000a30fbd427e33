"""Detection data set of handwritten digits, which a small model learns from random weights in a minute on a CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

DIGITS = (0, 1, 4, 7)
OTHER_DIGITS = (2, 3, 5, 6, 8, 9)
_PIXELS = 128


def compose_digits(folder: Path, *, train_images: int, val_images: int, digits: Sequence[int] = DIGITS) -> Path:
    """Compose scenes with two to four digits in two rows and columns, without overlap; return the data set file.

    The same numbers of images give the same bytes. The two splits show different writings. A folder that is complete
    stays as it is.
    """
    file = folder / "dataset.yaml"
    if file.exists():  # written last
        return file
    images, targets = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    for split, number, offset in (("train", train_images, 0), ("val", val_images, 1)):
        pools = {digit: images[targets == digit][offset::2] for digit in digits}
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            scene, rows = _scene(list(pools.values()), rng)
            Image.fromarray(scene).save(folder / "images" / split / f"{index:04d}.png")
            (folder / "labels" / split / f"{index:04d}.txt").write_text("".join(rows))
    names = "\n".join(f"  {index}: digit-{digit}" for index, digit in enumerate(digits))
    # ultralytics looks for a relative path in the current folder.
    file.write_text(f"path: {folder.absolute()}\ntrain: images/train\nval: images/val\nnames:\n{names}\n")
    return file


def _scene(pools: Sequence[NDArray[Any]], rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[str]]:
    half = _PIXELS // 2
    ground = rng.integers(0, 256, 3)
    scene = np.full((_PIXELS, _PIXELS, 3), ground, np.float64)
    rows = []
    for cell in rng.permutation(4)[: rng.integers(2, 5)]:
        number = int(rng.integers(len(pools)))
        pool = pools[number]
        drawn = pool[rng.integers(len(pool))].reshape(8, 8)
        size = int(rng.integers(40, half + 1))
        mask = np.asarray(Image.fromarray((drawn / 16 * 255).astype(np.uint8)).resize((size, size))) / 255
        used = np.argwhere(mask > 0.25)
        (top, left), (bottom, right) = used.min(axis=0), used.max(axis=0) + 1
        y, x = np.array(divmod(int(cell), 2)) * half + rng.integers(0, half - size + 1, 2)
        part = scene[y : y + size, x : x + size]
        part += mask[..., None] * ((ground + rng.integers(96, 161, 3)) % 256 - part)
        box = ((x + (left + right) / 2), (y + (top + bottom) / 2), right - left, bottom - top)
        rows.append(f"{number} " + " ".join(f"{float(value) / _PIXELS:.6f}" for value in box) + "\n")
    scene += rng.normal(0, 4, scene.shape)
    return scene.clip(0, 255).astype(np.uint8), rows
