"""Turn boxes in pixels into label rows, and refuse boxes that are hardly pixels of left, top, width and height."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.coco.reading import CocoFile
from trainer.data.dataset_yaml import Place, data_error, shown

_ROUNDING_PX = 1.0
"""Distance in pixels that boxes may extend beyond the image without a note: labelling tools round."""
_MANY = 0.5
"""Fraction of boxes beyond their image above which they are hardly left, top, width and height."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Label rows of a file."""

    of_image: Mapping[int, str]
    """Content of the label file by the number of the image; an image without boxes is missing."""
    num_boxes: int
    num_clipped: int
    """Boxes that reached beyond their image by more than a pixel."""
    num_dropped: int
    """Boxes without width or height, or wholly outside their image."""


def rows_of(coco: CocoFile, sizes: NDArray[np.int64], class_of_category: Mapping[int, int]) -> Rows:
    """Return the rows of all images, clipped at the border of the image.

    Args:
        coco: The file.
        sizes: Width and height of each image in the pixels of its boxes; 0 for an image to leave out.
        class_of_category: Class id by category id.

    Raises:
        DataError: The boxes are fractions, or corners.
    """
    inside = sizes[coco.image_of_box, 0] > 0
    boxes, image_of_box = coco.boxes[inside], coco.image_of_box[inside]
    _check_pixels(coco, boxes)
    limits = sizes[image_of_box].astype(np.float64)
    corners = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    beyond = ((corners[0] < -_ROUNDING_PX) | (corners[1] > limits + _ROUNDING_PX)).any(1)
    _check_corners(coco, boxes, beyond)
    start, end = (np.clip(corner, 0, limits) for corner in corners)
    good = (boxes[:, 2:] > 0).all(1) & (end > start).all(1)
    centre, size = ((start + end) / 2 / limits)[good], ((end - start) / limits)[good]
    numbers = sorted(class_of_category)
    classes = np.array([class_of_category[number] for number in numbers], np.int64)
    of_box = classes[np.searchsorted(numbers, coco.category_of_box[inside][good])]
    return Rows(
        of_image=dict(_texts(image_of_box[good], of_box, np.hstack((centre, size)))),
        num_boxes=int(good.sum()),
        num_clipped=int((beyond & good).sum()),
        num_dropped=int((~good).sum()),
    )


def _texts(
    image_of_box: NDArray[np.int64], classes: NDArray[np.int64], fractions: NDArray[np.float64]
) -> Iterator[tuple[int, str]]:
    """Yield each image that has boxes, with its rows in the order of the file."""
    order = np.argsort(image_of_box, kind="stable")
    images, starts = np.unique(image_of_box[order], return_index=True)
    for image, part in zip(images.tolist(), np.split(order, starts)[1:], strict=True):
        rows = zip(classes[part].tolist(), fractions[part].tolist(), strict=True)
        # Six decimals are a thousandth of a pixel in an image of 1000 pixels.
        yield image, "".join(f"{number} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for number, (x, y, w, h) in rows)


def _check_pixels(coco: CocoFile, boxes: NDArray[np.float64]) -> None:
    if len(boxes) and (boxes >= 0).all() and (boxes <= 1).all():
        rule = f"bbox must be in pixels, but all {len(boxes)} are fractions, the first {shown(boxes[0].tolist())}"
        remedy = "multiply by the width and height of the image"
        raise data_error(Place(file=coco.file), rule, remedy)


def _check_corners(coco: CocoFile, boxes: NDArray[np.float64], beyond: NDArray[np.bool_]) -> None:
    if len(boxes) and beyond.mean() > _MANY and (boxes[:, 2:] >= boxes[:, :2]).all():
        rule = (
            f"bbox must be left, top, width and height, but {int(beyond.sum())} of {len(boxes)} boxes reach beyond "
            f"their image, the first {shown(boxes[beyond][0].tolist())}, as two corners do"
        )
        raise data_error(Place(file=coco.file), rule, "write the width and height for the second corner")
