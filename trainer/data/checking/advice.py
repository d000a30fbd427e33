"""What to give `tune run` for a data set of such a size, with objects of such sizes.

Rules of thumb, by the number of training images and by how many pixels an object has: they choose where a search
begins, and the search finds out.
"""

from collections.abc import Mapping

import numpy as np

from trainer.data.checking.scan import Scan
from trainer.data.checking.statistics import TINY_SIDE, box_sides
from tuner.contract.data_report import Advice, SizeFacts, SplitFacts

SCRATCH_FROM, FINE_TUNE_BELOW = 10_000, 1_000
"""Training images."""
STRONG_BELOW, WEAK_ABOVE = 10_000, 50_000
"""Training images: fewer need stronger augmentation."""
SMALL_BELOW, LARGE_FROM = 10_000, 100_000
"""Training images: what T, B and L can learn from."""
USUAL_IMGSZ = 640
IMGSZ_CHOICES = (320, 416, 512, 640, 800, 960, 1280, 1536)
MAX_TINY_SHARE = 0.05
"""Of the boxes: with more that are below a step of the finest grid, a larger imgsz pays."""
_STRIDE = 32


def fitting_imgsz(scan: Scan) -> int:
    """The usual one, or larger for small objects; never more than the images have, in steps of 32."""
    readable = scan.shapes[scan.shapes[:, 0] > 0]
    if not len(readable):
        return USUAL_IMGSZ
    longer = float(np.median(readable.max(axis=1)))
    most = max(_STRIDE, round(longer / _STRIDE) * _STRIDE)
    for imgsz in IMGSZ_CHOICES[IMGSZ_CHOICES.index(USUAL_IMGSZ) :]:
        if imgsz >= most:
            return min(most, imgsz)
        if (box_sides(scan, imgsz).min(axis=1) < TINY_SIDE).mean() <= MAX_TINY_SHARE:
            return imgsz
    return IMGSZ_CHOICES[-1]


def advice(splits: Mapping[str, SplitFacts], sizes: SizeFacts) -> tuple[Advice, ...]:
    """For a data set of such splits and sizes."""
    number = splits["train"].usable
    images = f"{number:,} training images"
    return (_start(number, images), _model(number, images), _space(number, images), _imgsz(sizes))


def _start(number: int, images: str) -> Advice:
    if number < FINE_TUNE_BELOW:
        why = f"{images} are few to train from scratch: if you have trained weights, give them as the model"
    elif number < SCRATCH_FROM:
        why = f"{images} can do from scratch; trained weights, given as the model, are a shorter way"
    else:
        why = f"{images} are enough to train from scratch"
    return Advice(about="start", choice="", why=why)


def _model(number: int, images: str) -> Advice:
    if number < SMALL_BELOW:
        return Advice(about="model", choice="mamba-yolo-t", why=f"{images}; larger models gain little from so few")
    if number < LARGE_FROM:
        return Advice(about="model", choice="mamba-yolo-b", why=f"{images}; mamba-yolo-t where GPUs are small or few")
    return Advice(about="model", choice="mamba-yolo-l", why=f"{images}; mamba-yolo-b where GPUs are small or few")


def _space(number: int, images: str) -> Advice:
    if number < STRONG_BELOW:
        return Advice(about="space", choice="strong_aug", why=f"{images} need strong augmentation")
    if number <= WEAK_ABOVE:
        return Advice(about="space", choice="medium_aug", why=f"{images} need medium augmentation")
    return Advice(about="space", choice="weak_aug", why=f"{images} need little augmentation")


def _imgsz(sizes: SizeFacts) -> Advice:
    why = f"the median object is {sizes.median_side:.0f} pixels large there, and {sizes.tiny:.0%} are below {TINY_SIDE}"
    return Advice(about="imgsz", choice=str(sizes.imgsz), why=why)
