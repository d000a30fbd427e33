"""Parse one COCO JSON file: its images, categories and boxes, in the file's own ids and pixels."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.coco.json_items import items
from trainer.data.coco.other_formats import format_of
from trainer.data.dataset_yaml import Place, data_error, shown
from trainer.exceptions import DataError

_LISTS = ("images", "annotations", "categories")

CROWD = "of crowds (iscrowd)"
NO_BOX = "without a box"
NO_IMAGE = "of images that the file does not list"
KEYPOINTS = "with keypoints"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedImage:
    """An image as the file lists it."""

    file_name: str
    width: int
    """Width in pixels; 0 if the file does not give it."""
    height: int
    """Height in pixels; 0 if the file does not give it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Category:
    """A category as the file lists it."""

    name: str
    supercategory: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoFile:
    """Contents of a COCO JSON file that matter for detection."""

    file: Path
    images: tuple[ListedImage, ...]
    categories: Mapping[int, Category]
    """Categories by id, in the order of the ids."""
    boxes: NDArray[np.float64]
    """Left, top, width and height of each box in pixels."""
    image_of_box: NDArray[np.int64]
    """Index into `images` of each box."""
    category_of_box: NDArray[np.int64]
    """Category id of each box."""
    counts: Mapping[str, int]
    """Number of annotations that are left out or have more than a box, by CROWD, NO_BOX, NO_IMAGE and KEYPOINTS."""


def read_coco(file: Path) -> CocoFile:
    """Parse a COCO JSON file.

    Boxes of crowds are left out, as in COCO's own evaluation and ultralytics' conversion. An annotation without `bbox`
    has the box around its polygons.

    Raises:
        DataError: The file is not JSON, not COCO, or contradicts itself.
    """
    found = _Contents(file=file)
    first: object = None
    for key, item in items(file):
        found.keys.add(key)
        if item == []:  # an empty list
            continue
        if first is None and isinstance(item, dict):
            first = item
        if key == "annotations":
            found.add_annotation(item)
        elif key == "images":
            found.add_image(item)
        elif key == "categories":
            found.add_category(item)
    _check_format(found, first)
    return found.finished()


@dataclass(kw_only=True, slots=True)
class _Contents:
    """Contents read so far; annotations may come before the images that they name."""

    file: Path
    keys: set[str] = field(default_factory=set)
    image_ids: dict[Any, int] = field(default_factory=dict)
    images: list[ListedImage] = field(default_factory=list)
    categories: dict[int, Category] = field(default_factory=dict)
    boxes: "array[float]" = field(default_factory=lambda: array("d"))
    box_images: list[Any] = field(default_factory=list)
    box_categories: "array[int]" = field(default_factory=lambda: array("q"))
    counts: Counter[str] = field(default_factory=Counter)
    num_annotations: int = 0
    odd_annotation: str = ""

    def add_image(self, item: object) -> None:
        """Add an image; two entries with one id must be the same."""
        image = item if isinstance(item, dict) else {}
        name, number = image.get("file_name"), image.get("id")
        if not isinstance(name, str) or not name.strip() or not isinstance(number, int | str):
            raise self._refused("Every image must have an id and a file_name", item, _EXPORT)
        width, height = (_pixels(image.get(key)) for key in ("width", "height"))
        listed = ListedImage(file_name=name, width=width, height=height)
        if number not in self.image_ids:
            self.image_ids[number] = len(self.images)
            self.images.append(listed)
        elif self.images[self.image_ids[number]] != listed:
            rule = f"Every image must have an id of its own, but {shown(self.images[self.image_ids[number]].file_name)}"
            raise data_error(
                Place(file=self.file), f"{rule} and {shown(name)} have the id {shown(number)}", "number the images"
            )

    def add_category(self, item: object) -> None:
        """Add a category; two entries with one id must have one name."""
        entry = item if isinstance(item, dict) else {}
        number, name = _whole(entry.get("id")), entry.get("name")
        if number is None or not isinstance(name, str | int) or not str(name).strip():
            raise self._refused("Every category must have a whole id and a name", item, _EXPORT)
        parent = entry.get("supercategory") or ""
        category = Category(name=_one_line(str(name)), supercategory=_one_line(str(parent)))
        known = self.categories.setdefault(number, category)
        if known.name != category.name:
            rule = f"Every category must have an id of its own, but {shown(known.name)} and {shown(category.name)}"
            raise data_error(Place(file=self.file), f"{rule} have the id {number}", "number the categories")

    def add_annotation(self, item: object) -> None:
        """Add the box of an annotation, or count why it has none."""
        if not isinstance(item, dict):
            raise self._refused("Every annotation must be an object", item, _EXPORT)
        self.num_annotations += 1
        if item.get("iscrowd"):
            self.counts[CROWD] += 1
            return
        corners = _box(item)
        if corners is None:
            self.counts[NO_BOX] += 1
            self.odd_annotation = self.odd_annotation or _kind(item)
            return
        category = _whole(item.get("category_id"))
        if category is None or not isinstance(image := item.get("image_id"), int | str):
            raise self._refused("Every annotation must have an image_id and a whole category_id", item, _EXPORT)
        if len(corners) != 4 or not all(map(_is_finite, corners)):
            rule = f"Every bbox must be four finite numbers, but annotation {shown(item.get('id'))} has"
            raise data_error(Place(file=self.file), f"{rule} {shown(corners)}", "correct it")
        if item.get("keypoints"):
            self.counts[KEYPOINTS] += 1
        self.boxes.extend(corners)
        self.box_images.append(image)
        self.box_categories.append(category)

    def finished(self) -> CocoFile:
        """Return the contents, without the boxes of images that the file does not list."""
        indices = np.array([self.image_ids.get(number, -1) for number in self.box_images], np.int64)
        known = indices >= 0
        self.counts[NO_IMAGE] += int((~known).sum())
        categories = np.frombuffer(self.box_categories, np.int64) if self.box_categories else np.zeros(0, np.int64)
        boxes = np.frombuffer(self.boxes, np.float64).reshape(-1, 4) if self.boxes else np.zeros((0, 4))
        self._check_ids(known, categories)
        return CocoFile(
            file=self.file,
            images=tuple(self.images),
            categories=dict(sorted(self.categories.items())),
            boxes=boxes[known],
            image_of_box=indices[known],
            category_of_box=categories[known],
            counts={why: number for why, number in self.counts.items() if number},
        )

    def _check_ids(self, known: NDArray[np.bool_], categories: NDArray[np.int64]) -> None:
        if len(known) and not known.any():
            rule = f"The image_id of an annotation must be the id of an image, but all {len(known)} are others, such as"
            example = f"{shown(self.box_images[0])}, and the ids are {shown(list(self.image_ids)[:3])}"
            raise data_error(Place(file=self.file), f"{rule} {example}", _EXPORT)
        unknown = set(np.unique(categories).tolist()) - self.categories.keys()
        if unknown:
            rule = f"Every category_id must be the id of a category, but got {min(unknown)}, and the ids are"
            ids = shown(sorted(self.categories)[:8])
            raise data_error(Place(file=self.file), f"{rule} {ids}", "add the category, or correct the annotations")

    def _refused(self, rule: str, value: object, remedy: str) -> DataError:
        return data_error(Place(file=self.file), f"{rule}, but got {shown(value)}", remedy)


def _check_format(found: _Contents, first: object) -> None:
    """Refuse a file without images, categories or boxes, by the name of its format if it is known."""
    place = Place(file=found.file)
    missing = [key for key in _LISTS if key not in found.keys]
    missing += [key for key, of in (("images", found.images), ("categories", found.categories)) if not of]
    if missing:
        kind = format_of(found.keys, first)
        if kind:
            rule = f"The file must be COCO JSON with the lists images, annotations and categories, but this is {kind}"
            raise data_error(place, rule, "export the labels as COCO or YOLO")
        lacking = list(dict.fromkeys(missing))
        rule = f"COCO JSON must have the lists images, annotations and categories, but it has no {', '.join(lacking)}"
        raise data_error(place, rule, "give the JSON with the boxes, such as instances_train.json")
    if not len(found.boxes) and found.counts[NO_BOX]:
        rule = f"The annotations of a detector must have a bbox, but none of {found.num_annotations} has one"
        raise data_error(
            place, f"{rule}{found.odd_annotation}", "give the JSON with the boxes, such as instances_train.json"
        )


_EXPORT = "export the file again"


def _kind(item: Mapping[str, object]) -> str:
    if "caption" in item:
        return ": these are captions"
    return ": this is panoptic segmentation" if "segments_info" in item else ""


def _box(item: Mapping[str, Any]) -> Sequence[float] | None:
    """Return the box of an annotation, or that around its polygons; None without any."""
    box = item.get("bbox")
    if isinstance(box, list) and box:
        return box
    segmentation = item.get("segmentation")
    polygons = segmentation if isinstance(segmentation, list) else []
    points = [p for polygon in polygons if isinstance(polygon, list) for p in polygon]
    if len(points) < 6 or len(points) % 2 or not all(map(_is_finite, points)):
        return None
    left, top = min(points[::2]), min(points[1::2])
    return [left, top, max(points[::2]) - left, max(points[1::2]) - top]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def _whole(value: object) -> int | None:
    """Return a whole number of 63 bits; some tools write "4" or 4.0."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
        return number if number == float(value) and abs(number) < 1 << 62 else None
    except (ValueError, OverflowError):
        return None


def _pixels(value: object) -> int:
    number = _whole(value)
    return number if number is not None and number > 0 else 0
