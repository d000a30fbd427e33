"""Match the images that a JSON file lists with the files on disk."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trainer.data.checking.images import size_of
from trainer.data.checking.refusal import MAX_BROKEN_FRACTION
from trainer.data.coco.layout import Annotated, image_folder
from trainer.data.coco.reading import CocoFile, ListedImage
from trainer.data.dataset import is_image_name
from trainer.data.dataset_yaml import Place, data_error, shown

_NOT_RELATIVE = re.compile(r"/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")
"""Beginning of an absolute path or a URL, which says nothing of this machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundImage:
    """An image of a JSON file on disk."""

    path: Path
    name: str
    """Relative path for the converted data set: the same wherever the data set is."""
    numbers: tuple[int, ...]
    """Numbers of its entries in the file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundImages:
    """The images of a JSON file on disk."""

    images: tuple[FoundImage, ...]
    sizes: NDArray[np.int64]
    """Width and height of each listed image in the pixels of its boxes; 0 for an image that is left out."""
    lost: tuple[str, ...]
    """What is wrong with the images that are left out, one text per kind."""
    notes: tuple[str, ...]


def find_images(coco: CocoFile, annotated: Annotated) -> FoundImages:
    """Find the images of a JSON file, and the sizes that its boxes refer to.

    Raises:
        DataError: More than a hundredth of the images cannot be used.
    """
    folder = image_folder(coco, annotated.images)
    sizes = np.zeros((len(coco.images), 2), np.int64)
    numbers: dict[Path, list[int]] = defaultdict(list)
    lost: dict[str, list[str]] = defaultdict(list)
    resized = []
    for number, image in enumerate(coco.images):
        path = folder.find(image.file_name)
        if path is None:
            lost[f"not found in {folder.path}"].append(image.file_name)
        elif not is_image_name(path.name.lstrip(".")):
            lost["in no format that training supports"].append(image.file_name)
        elif (size := size_of_boxes(image, real := size_of(path))) is None:
            lost["of other proportions than the file says"].append(f"{image.file_name} ({_both_sizes(image, real)})")
        else:
            sizes[number] = size
            numbers[path].append(number)
            if min(real) > 0 and size != real:
                resized.append(image.file_name)
    _check_lost(coco, lost)
    return FoundImages(
        images=tuple(_named(numbers, coco)),
        sizes=sizes,
        lost=tuple(_told(lost)),
        notes=tuple(_notes(numbers, resized)),
    )


def _check_lost(coco: CocoFile, lost: Mapping[str, Sequence[str]]) -> None:
    if sum(map(len, lost.values())) > MAX_BROKEN_FRACTION * len(coco.images):
        rule = f"At most {MAX_BROKEN_FRACTION:.0%} of the images of a file may be unusable, but of {len(coco.images)} "
        remedy = "restore the images, export the file again, or name the folder of its images in a YAML"
        raise data_error(Place(file=coco.file), rule + "; ".join(_told(lost)), remedy)


def _told(lost: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for what, names in lost.items():
        number = "1 image is" if len(names) == 1 else f"{len(names)} images are"
        yield f"{number} {what}, the first: {shown(names[0])}"


def size_of_boxes(image: ListedImage, real: tuple[int, int]) -> tuple[int, int] | None:
    """Return the width and height that an image's boxes refer to; None if the file contradicts the image.

    An image that was resized after labelling keeps its proportions, so its boxes are right as fractions of the listed
    size. Other proportions mean another image, or one that is rotated in training but not in the labelling tool.

    Args:
        image: Image as listed.
        real: Width and height in training; 0 if it cannot be read, which the data check reports.
    """
    if min(image.width, image.height) == 0:
        return real
    if min(real) == 0 or abs(image.width * real[1] - image.height * real[0]) <= max(*real, image.width, image.height):
        return image.width, image.height
    return None


def tree_name(file_name: str) -> str:
    """Return a relative path with slashes that is valid in list files, for an image as a JSON file names it."""
    name = file_name.replace("\\", "/")
    # A folder `images` would move the labels: training looks for them in place of the last one.
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", "images", "labels")]
    kept = parts[-1:] if _NOT_RELATIVE.match(name) else parts
    return "/".join(_clean(part) for part in kept)


def _clean(part: str) -> str:
    printable = "".join(letter if letter.isprintable() else "_" for letter in part)
    return f"_{printable[1:]}" if printable.startswith(".") else printable


def _named(numbers: Mapping[Path, Sequence[int]], coco: CocoFile) -> list[FoundImage]:
    """Name the images uniquely; two that differ only in the suffix would share their labels."""
    taken: set[str] = set()
    found = []
    for path, of_path in numbers.items():
        name = short = PurePosixPath(tree_name(coco.images[of_path[0]].file_name))
        number = 1
        while str(short.with_suffix("")).casefold() in taken:
            number += 1
            short = name.with_name(f"{name.stem}-{number}{name.suffix}")
        taken.add(str(short.with_suffix("")).casefold())
        found.append(FoundImage(path=path, name=str(short), numbers=tuple(of_path)))
    return found


def _notes(numbers: Mapping[Path, Sequence[int]], resized: Sequence[str]) -> list[str]:
    notes = []
    twice = [path for path, of_path in numbers.items() if len(of_path) > 1]
    if twice:
        notes.append(
            f"{len(twice)} of the images are listed twice, the first: {shown(twice[0].name)}; their boxes are joined"
        )
    if resized:
        notes.append(
            f"{len(resized)} of the images have another size than the file says, the first: {shown(resized[0])}; "
            "their boxes are scaled with them"
        )
    return notes


def _both_sizes(image: ListedImage, real: tuple[int, int]) -> str:
    return f"{image.width} x {image.height} in the file, in training {real[0]} x {real[1]}"
