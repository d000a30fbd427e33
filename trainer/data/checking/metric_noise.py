"""Estimate how much mAP50-95 would change with other validation images of the same kind.

No comparison on these images can resolve smaller differences. There is no detector before the first training run, so
this module simulates one of medium quality on the boxes of the split, and evaluates its mAP50-95 on many samples of the
images, drawn with replacement. `benchmarks/validation_noise.py` compares the estimate with real detectors.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.contract.data_report import NoiseFacts

NUM_SAMPLES = 200
MAX_IMAGES = 2000
"""Maximum number of images to simulate; noise falls with the square root of the number of images."""

_IOUS = np.linspace(0.5, 0.95, 10)
_IOU, _IOU_SPREAD = 0.68, 0.2
"""Mean and standard deviation of the IoU of a detection, clipped to 0 and 1."""
_OF_IMAGE, _OF_BOX = 0.1, 0.5
"""Shares of the image and of the box in the variance of the detection quality; the rest is the detector's."""
_FALSE_ALARMS = 1.0
"""False detections per box; their mean confidence is lower by this many standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """Detections on some images, sorted by falling confidence, and the boxes to detect."""

    image: NDArray[np.int64]
    """Image number of each detection: (detections,)."""
    class_id: NDArray[np.int64]
    """Class id of each detection: (detections,)."""
    is_true: NDArray[np.bool_]
    """Matches of a box of that class, for IoUs from 0.5 to 0.95: (detections, 10)."""
    image_of_box: NDArray[np.int64]
    """Image number of each box: (boxes,)."""
    class_of_box: NDArray[np.int64]
    """Class id of each box: (boxes,)."""


def expected_noise(
    image_of_box: NDArray[np.int64], class_of_box: NDArray[np.int64], num_images: int
) -> NoiseFacts | None:
    """Estimate the noise for the boxes of a validation split; None if it has no boxes.

    Args:
        image_of_box: image number of each box, 0 to `num_images` - 1: (boxes,).
        class_of_box: class id of each box: (boxes,).
        num_images: number of images, with or without boxes.
    """
    if not len(image_of_box):
        return None
    used = min(num_images, MAX_IMAGES)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(num_images)[:used])
    kept = np.isin(image_of_box, chosen)
    where, what = np.searchsorted(chosen, image_of_box[kept]), class_of_box[kept].astype(np.int64)
    first, second = _made_up(where, what, used, rng)
    times = rng.multinomial(used, np.full(used, 1 / used), size=NUM_SAMPLES).astype(np.float32)
    one, other = resampled(first, times), resampled(second, times)
    scale = math.sqrt(used / num_images)
    deviation, difference = float(np.nanstd(one)) * scale, 2 * float(np.nanstd(one - other)) * scale
    return NoiseFacts(
        images=len(np.unique(image_of_box)),
        standard_deviation=deviation,
        least_difference=difference,
        images_for_a_point=int(float(f"{num_images * (difference / 0.01) ** 2:.2g}")),
    )


def _made_up(
    image_of_box: NDArray[np.int64], class_of_box: NDArray[np.int64], num_images: int, rng: np.random.Generator
) -> list[Detections]:
    """Simulate two detectors of the same quality; most boxes that are hard for one are hard for both."""
    num_boxes = len(image_of_box)
    of_image = rng.normal(size=num_images)[image_of_box] * math.sqrt(_OF_IMAGE)
    shared = of_image + rng.normal(size=num_boxes) * math.sqrt(_OF_BOX)
    return [_detector(image_of_box, class_of_box, num_images, shared, rng) for _ in range(2)]


def _detector(
    image_of_box: NDArray[np.int64],
    class_of_box: NDArray[np.int64],
    num_images: int,
    shared: NDArray[np.float64],
    rng: np.random.Generator,
) -> Detections:
    num_boxes = len(image_of_box)
    num_false = round(_FALSE_ALARMS * num_boxes)
    ease = shared + rng.normal(size=num_boxes) * math.sqrt(1 - _OF_IMAGE - _OF_BOX)
    iou = np.clip(_IOU + _IOU_SPREAD * ease, 0, 1)
    confidence = np.concatenate([ease, rng.normal(size=num_false) - _FALSE_ALARMS])
    is_true = np.concatenate([iou[:, None] >= _IOUS, np.zeros((num_false, len(_IOUS)), bool)])
    order = np.argsort(-confidence)
    return Detections(
        image=np.concatenate([image_of_box, rng.integers(num_images, size=num_false)])[order],
        class_id=np.concatenate([class_of_box, rng.choice(class_of_box, num_false)])[order],
        is_true=is_true[order],
        image_of_box=image_of_box,
        class_of_box=class_of_box,
    )


def resampled(found: Detections, times: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute mAP50-95, 0 to 1, on samples of the images; NaN for a sample without boxes.

    Args:
        found: the detections of one detector.
        times: number of times that each image is in each sample: (samples, images).
    """
    precisions = []
    for class_id in np.unique(found.class_of_box):
        of_class = found.class_id == class_id
        num_boxes = times[:, found.image_of_box[found.class_of_box == class_id]].sum(axis=1)
        weights = times[:, found.image[of_class]]
        precisions.append(_average_precisions(found.is_true[of_class], weights, num_boxes))
    if not precisions:
        return np.full(len(times), np.nan)
    of_classes = np.stack(precisions)
    num_classes = (~np.isnan(of_classes)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.nansum(of_classes, axis=0) / num_classes
    return mean


def _average_precisions(
    is_true: NDArray[np.bool_], weights: NDArray[np.float32], num_boxes: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Compute the area under the precision-recall envelope, the mean over IoUs: (samples,); NaN without boxes."""
    total = np.zeros(len(weights))
    seen = np.cumsum(weights, axis=1)
    for at_iou in is_true.T:
        gained = weights * at_iou
        precision = np.cumsum(gained, axis=1) / np.maximum(seen, 1e-9)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        total += (gained * envelope).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(num_boxes > 0, total / (len(_IOUS) * num_boxes), np.nan)
