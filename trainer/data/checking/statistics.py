"""Compute statistics of splits, classes and sizes, and find what is unusual in them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.checking import kinds
from trainer.data.checking.labels import RowFlaw
from trainer.data.checking.scan import Scan
from tuner.contract.data_report import ClassFacts, Finding, NoiseFacts, Place, SizeFacts, SplitFacts

RARE_SHARE, RARE_BOXES = 0.02, 100
"""A class is rare if it has fewer boxes in train than this share of the most frequent class, and than this number."""
LEAST_VAL_SHARE, MOST_VAL_SHARE = 0.05, 0.4
"""Limits of the share of val in train and val together, 0 to 1."""
ENOUGH_VAL_IMAGES = 2000
"""Number of val images from which a smaller share is accepted."""
NOISY_DIFFERENCE = 0.02
"""Difference in mAP50-95 that a validation split must resolve: tuning often gains less than this."""
TINY_SIDE, SMALL_SIDE, MEDIUM_SIDE = 8, 32, 96
"""Sides in pixels: one step of the detector's finest grid, and COCO's two limits."""
LEAST_CORNER_BOXES, CORNERS_BEYOND = 10, 0.2
"""Boxes look like corners if all of at least this many do, and this share of them extends beyond the image."""
_SIZES_SHOWN = 5


def split_facts(scan: Scan, splits: Mapping[str, range]) -> dict[str, SplitFacts]:
    """Return the numbers of images and boxes of each split."""
    usable = scan.usable()
    facts = {}
    for name, numbers in splits.items():
        these = slice(numbers.start, numbers.stop)
        boxes = scan.num_boxes[these][usable[these]]
        facts[name] = SplitFacts(
            images=len(numbers),
            usable=int(usable[these].sum()),
            background=int((boxes == 0).sum()),
            unlabelled=int((~scan.has_labels[these]).sum()),
            boxes=int(boxes.sum()),
        )
    return facts


def class_facts(scan: Scan, splits: Mapping[str, range], names: Sequence[str]) -> tuple[ClassFacts, ...]:
    """Count the images and boxes of each class, on usable images."""
    image_of_box = scan.image_of_box()
    kept = scan.usable()[image_of_box]
    images, boxes = {}, {}
    for split, numbers in splits.items():
        here = kept & (image_of_box >= numbers.start) & (image_of_box < numbers.stop)
        classes = scan.boxes[here, 0].astype(np.int64)
        boxes[split] = np.bincount(classes, minlength=len(names)).tolist()
        each_once = np.unique(np.stack([image_of_box[here], classes]), axis=1)[1]
        images[split] = np.bincount(each_once, minlength=len(names)).tolist()
    return tuple(
        ClassFacts(
            name=name,
            images={split: counts[class_id] for split, counts in images.items()},
            boxes={split: counts[class_id] for split, counts in boxes.items()},
        )
        for class_id, name in enumerate(names)
    )


def size_facts(scan: Scan, imgsz: int) -> SizeFacts:
    """Return the sizes of images and objects."""
    readable = scan.shapes[scan.shapes[:, 0] > 0]
    frequent = Counter(map(tuple, readable.tolist())).most_common(_SIZES_SHOWN)
    width, height = box_sides(scan, imgsz).T
    side = np.sqrt(width * height)
    with_boxes = scan.num_boxes[scan.usable() & (scan.num_boxes > 0)]
    return SizeFacts(
        imgsz=imgsz,
        image_sizes=tuple((w, h, number) for (w, h), number in frequent),
        small=_share(side < SMALL_SIDE),
        medium=_share((side >= SMALL_SIDE) & (side < MEDIUM_SIDE)),
        large=_share(side >= MEDIUM_SIDE),
        median_side=float(np.median(side)) if len(side) else 0.0,
        tiny=_share(np.minimum(width, height) < TINY_SIDE),
        boxes_per_image=float(with_boxes.mean()) if len(with_boxes) else 0.0,
    )


def box_sides(scan: Scan, imgsz: int) -> NDArray[np.float64]:
    """Return width and height of boxes on usable images, in pixels at a longer side of `imgsz`: (boxes, 2)."""
    image_of_box = scan.image_of_box()
    kept = scan.usable()[image_of_box]
    shapes = scan.shapes[image_of_box[kept]].astype(np.float64)
    scale: NDArray[np.float64] = imgsz / shapes.max(axis=1, keepdims=True, initial=1)
    sides: NDArray[np.float64] = scan.boxes[kept, 3:5] * shapes * scale
    return sides


def _share(which: NDArray[np.bool_]) -> float:
    return float(which.mean()) if len(which) else 0.0


def odd_classes(file: Path, classes: Sequence[ClassFacts]) -> Iterator[Finding]:
    """Yield findings about classes that cannot be learnt or cannot be measured."""
    most = max((facts.boxes["train"] for facts in classes), default=0)
    places: dict[kinds.Kind, list[Place]] = {}
    for class_id, facts in enumerate(classes):
        train, val = facts.boxes["train"], facts.boxes["val"]
        kind = None
        if not any(facts.boxes.values()):
            kind = kinds.CLASS_NEVER
        elif not train and val:
            kind = kinds.CLASS_NOT_TRAINED
        elif train and not val:
            kind = kinds.CLASS_NOT_VALIDATED
        elif train < RARE_BOXES and train < RARE_SHARE * most:
            kind = kinds.RARE_CLASS
        if kind is not None:
            counts = ", ".join(f"{number} in {split}" for split, number in facts.boxes.items())
            place = Place(file=str(file), found=f"class {class_id} '{facts.name}': boxes {counts}")
            places.setdefault(kind, []).append(place)
    return (kinds.finding(kind, "", found) for kind, found in places.items())


def odd_names(file: Path, names: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding about classes with the same name."""
    ids: dict[str, list[int]] = defaultdict(list)
    for class_id, name in enumerate(names):
        ids["".join(name.split()).casefold()].append(class_id)
    places = [
        Place(file=str(file), found=", ".join(f"{class_id}: '{names[class_id]}'" for class_id in same_name))
        for same_name in ids.values()
        if len(same_name) > 1
    ]
    if places:
        yield kinds.finding(kinds.SAME_NAME, "", places)


def odd_boxes(file: Path, scan: Scan, num_classes: int) -> Iterator[Finding]:
    """Yield findings about labels that follow another convention, if all of them together show it."""
    beyond = [row for _, row in scan.row_flaws if row.flaw == RowFlaw.CLASS_ID]
    if beyond and all(row.value == str(num_classes) for row in beyond) and not (scan.boxes[:, 0] == 0).any():
        found = (
            f"no row has class 0, {len(beyond)} rows have class {num_classes}, and `names` has 0 to {num_classes - 1}"
        )
        yield kinds.finding(kinds.IDS_FROM_ONE, "", [Place(file=str(file), found=found)])
    x, y, width, height = scan.boxes[:, 1:].T
    over = sum(row.flaw == RowFlaw.BEYOND_BORDER for _, row in scan.row_flaws)
    ordered = (width > x) & (height > y)
    if len(x) >= LEAST_CORNER_BOXES and ordered.all() and over >= CORNERS_BEYOND * len(x):
        found = (
            f"in each of {len(x)} rows the last two numbers are larger than the two before; "
            f"{over} boxes extend beyond the image"
        )
        yield kinds.finding(kinds.CORNER_BOXES, "", [Place(file=str(file), found=found)])


def odd_splits(file: Path, splits: Mapping[str, SplitFacts], noise: NoiseFacts | None) -> Iterator[Finding]:
    """Yield findings about a validation split of unusual size, or one too small for comparisons."""
    train, val = splits["train"].usable, splits["val"].usable
    share = val / max(train + val, 1)
    if share > MOST_VAL_SHARE or (share < LEAST_VAL_SHARE and val < ENOUGH_VAL_IMAGES):
        place = Place(file=str(file), found=f"{train} images in train, {val} in val ({share:.0%})")
        yield kinds.finding(kinds.SPLIT_RATIO, "", [place])
    if noise is not None and noise.least_difference > NOISY_DIFFERENCE:
        found = (
            f"{noise.images} images with boxes: mAP50-95 varies by {noise.standard_deviation:.3f} between sets of this "
            f"size; resolving a difference of 0.01 takes {noise.images_for_a_point:,} images"
        )
        yield kinds.finding(kinds.SMALL_VALIDATION, "val", [Place(file=str(file), found=found)])
