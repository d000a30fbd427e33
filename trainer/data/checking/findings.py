"""Turn the result of a scan into findings: flaws of files, shared label files and repeated images."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainer.data.checking.duplicates import Twin
from trainer.data.checking.kinds import (
    DUPLICATE,
    EMPTY_LABELS,
    IMAGES,
    LABELS_ELSEWHERE,
    LEAK,
    MISSING_LABELS,
    NEAR_DUPLICATE,
    NEAR_LEAK,
    ROWS,
    SHARED_LABELS,
    Kind,
    finding,
)
from trainer.data.checking.scan import Scan
from trainer.data.dataset import label_path
from tuner.contract.data_report import Finding, Place


def in_files(
    images: Sequence[Path], scan: Scan, splits: Mapping[str, range], root: Path, elsewhere: Mapping[Path, Path]
) -> Iterator[Finding]:
    """Yield the findings about single images and label files.

    Args:
        images: paths of the images of all splits.
        scan: the scan of these images.
        splits: the image numbers of each split.
        root: root folder of the data set.
        elsewhere: label files in places where training does not look, by image.
    """
    places: dict[tuple[Kind, str], list[Place]] = defaultdict(list)
    split_of = {number: split for split, numbers in splits.items() for number in numbers}
    for number, found in scan.image_flaws:
        place = Place(file=str(images[number]), found=found.value)
        places[IMAGES[found.flaw], split_of[number]].append(place)
    for number, row in scan.row_flaws:
        place = Place(file=str(label_path(images[number])), line=row.line, found=row.value)
        places[ROWS[row.flaw], split_of[number]].append(place)
    for number, kind in _backgrounds(scan):
        image = images[number]
        if label := elsewhere.get(image):
            found_at = f"expected: {_short(label_path(image), root)}, found: {_short(label, root)}"
            places[LABELS_ELSEWHERE, split_of[number]].append(Place(file=str(image), found=found_at))
        else:
            places[kind, split_of[number]].append(Place(file=str(image)))
    yield from (finding(kind, split, found) for (kind, split), found in places.items())


def _backgrounds(scan: Scan) -> Iterator[tuple[int, Kind]]:
    flawed = {number for number, _ in scan.row_flaws}
    for number, (has_labels, num_boxes) in enumerate(zip(scan.has_labels, scan.num_boxes, strict=True)):
        if not has_labels:
            yield number, MISSING_LABELS
        elif not num_boxes and number not in flawed:
            yield number, EMPTY_LABELS


def _short(file: Path, root: Path) -> str:
    """Return the path relative to the root of the data set if the file is inside it."""
    return str(file.relative_to(root) if file.is_relative_to(root) else file)


def of_shared_labels(images: Sequence[Path], scan: Scan, splits: Mapping[str, range], root: Path) -> Iterator[Finding]:
    """Yield findings about images that share a label file because only their suffixes differ."""
    first: dict[Path, Path] = {}
    usable = scan.usable()
    for split, numbers in splits.items():
        places = []
        for number in numbers:
            if scan.has_labels[number] and usable[number]:
                image, label = images[number], label_path(images[number])
                other = first.setdefault(label, image)
                if other != image:
                    places.append(
                        Place(file=str(image), found=f"reads {_short(label, root)}, like {_short(other, root)}")
                    )
        if places:
            yield finding(SHARED_LABELS, split, places)


def of_twins(
    images: Sequence[Path], exact: Sequence[Twin], near: Sequence[Twin], splits: Mapping[str, range]
) -> Iterator[Finding]:
    """Yield findings about repeated images. An exact copy of an earlier image is not also a near-duplicate."""
    split_of = {number: split for split, numbers in splits.items() for number in numbers}
    copies = {twin.image for twin in exact}
    places: dict[tuple[Kind, str], list[Place]] = defaultdict(list)
    pairs = [(twin, "", LEAK, DUPLICATE) for twin in exact]
    pairs += [
        (twin, f"similarity {twin.similarity:.3f}", NEAR_LEAK, NEAR_DUPLICATE)
        for twin in near
        if twin.image not in copies
    ]
    for twin, found, across, within in pairs:
        split = split_of[twin.image]
        place = Place(file=str(images[twin.image]), found=found, other=str(images[twin.earlier]))
        places[within if split == split_of[twin.earlier] else across, split].append(place)
    yield from (finding(kind, split, found) for (kind, split), found in places.items())
