"""Data sets in COCO JSON with tiny real images."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer.data.dataset import DataSet, label_path
from trainer.data.dataset import Image as DataImage

CATEGORIES = ({"id": 1, "name": "cat"}, {"id": 2, "name": "dog"})
BOX = (10.0, 20.0, 30.0, 20.0)
"""Left, top, width and height in pixels."""
ROW = "0 0.250000 0.300000 0.300000 0.200000\n"
"""Label row of BOX as a cat in an image of 100 x 100 pixels."""


def coco(
    names: Iterable[str], *, categories: Sequence[Mapping[str, Any]] = CATEGORIES, size: tuple[int, int] = (100, 100)
) -> dict[str, Any]:
    """Build a file that lists images with one box each, of the first category."""
    images: list[dict[str, Any]] = [
        {"id": number, "file_name": name, "width": size[0], "height": size[1]}
        for number, name in enumerate(names, start=1)
    ]
    return {"images": images, "annotations": [annotation(image["id"]) for image in images],
            "categories": list(categories)}  # fmt: skip


def annotation(image: int, box: Sequence[float] = BOX, category: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": image, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": 0, **more}


def put_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def put_image(path: Path, size: tuple[int, int] = (100, 100), orientation: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(list(str(path).encode())).integers(0, 255, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    exif = image.getexif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def put_roboflow(root: Path) -> Path:
    """Write Roboflow's layout: two images in train, one in valid."""
    for folder, names in (("train", ("a.jpg", "b.jpg")), ("valid", ("c.jpg",))):
        put_json(root / folder / "_annotations.coco.json", coco(names))
        for name in names:
            put_image(root / folder / name)
    return root


def labels(dataset: DataSet) -> dict[str, str]:
    """Return the content of each label file by split and name of the image."""
    return {
        f"{split}/{image.name}": label_path(image.path).read_text("ascii")
        for split, of in dataset.splits.items()
        for image in of.images
    }


def coco_of(images: Iterable[DataImage], names: Sequence[str], folder: Path) -> dict[str, Any]:
    """Convert images with YOLO labels to a file with their boxes, and copy the images to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    for number, image in enumerate(images, start=1):
        (folder / image.path.name).write_bytes(image.path.read_bytes())
        width, height = Image.open(image.path).size
        content["images"].append({"id": number, "file_name": image.path.name, "width": width, "height": height})
        for row in label_path(image.path).read_text("ascii").splitlines():
            class_id, x, y, w, h = map(float, row.split())
            box = ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height)
            content["annotations"].append(annotation(number, box, int(class_id) + 1))
    return content
