"""Recommend settings for `tune run` from the number of images and the sizes of the objects.

These rules of thumb use the number of training images and the size of the objects in pixels. They choose the starting
point of a search; the search finds out the rest.
"""

from collections.abc import Mapping

import numpy as np

from trainer.data.checking.scan import Scan
from trainer.data.checking.statistics import TINY_SIDE, box_sides
from tuner.contract.data_report import Advice, SizeFacts, SplitFacts

SCRATCH_FROM, FINE_TUNE_BELOW = 10_000, 1_000
"""Numbers of training images: train from scratch from the first, fine-tune below the second."""
STRONG_BELOW, WEAK_ABOVE = 10_000, 50_000
"""Numbers of training images: strong augmentation below the first, weak above the second."""
SMALL_BELOW, LARGE_FROM = 10_000, 100_000
"""Numbers of training images: model T below the first, L from the second, B between."""
USUAL_IMGSZ = 640
IMGSZ_CHOICES = (320, 416, 512, 640, 800, 960, 1280, 1536)
MAX_TINY_SHARE = 0.05
"""Share of the boxes below a step of the finest grid, 0 to 1; above it, a larger imgsz pays off."""
_STRIDE = 32


def fitting_imgsz(scan: Scan) -> int:
    """Return 640, or more for small objects; at most the size of the images, in steps of 32."""
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
    """Return the recommendations for a data set."""
    number = splits["train"].usable
    images = f"{number:,} training images"
    return (_start(number, images), _model(number, images), _space(number, images), _imgsz(sizes))


def _start(number: int, images: str) -> Advice:
    if number < FINE_TUNE_BELOW:
        why = f"{images} are few for training from scratch: if you have trained weights, use them as the model"
    elif number < SCRATCH_FROM:
        why = f"{images} can be enough to train from scratch; trained weights, used as the model, take less training"
    else:
        why = f"{images} are enough to train from scratch"
    return Advice(about="start", choice="", why=why)


def _model(number: int, images: str) -> Advice:
    if number < SMALL_BELOW:
        return Advice(about="model", choice="mamba-yolo-t", why=f"with {images}, larger models gain little")
    if number < LARGE_FROM:
        return Advice(
            about="model", choice="mamba-yolo-b", why=f"{images}; use mamba-yolo-t if your GPUs are small or few"
        )
    return Advice(about="model", choice="mamba-yolo-l", why=f"{images}; use mamba-yolo-b if your GPUs are small or few")


def _space(number: int, images: str) -> Advice:
    if number < STRONG_BELOW:
        return Advice(about="space", choice="strong_aug", why=f"{images} need strong augmentation")
    if number <= WEAK_ABOVE:
        return Advice(about="space", choice="medium_aug", why=f"{images} need medium augmentation")
    return Advice(about="space", choice="weak_aug", why=f"{images} need little augmentation")


def _imgsz(sizes: SizeFacts) -> Advice:
    why = (
        f"at this size the median object is {sizes.median_side:.0f} pixels large, "
        f"and {sizes.tiny:.0%} of the objects have a side below {TINY_SIDE}"
    )
    return Advice(about="imgsz", choice=str(sizes.imgsz), why=why)
