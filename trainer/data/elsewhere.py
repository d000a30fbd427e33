"""Search for labels where training does not look for them, and for annotations in other formats."""

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

NO_LABELS = frozenset({"classes.txt", "labels.txt", "notes.txt", "train.txt", "val.txt", "test.txt"})
"""Text files that labelling tools leave among the labels."""

_MOST_FILES = 500_000
"""Maximum number of files to search: the folder of a data set may be a whole disk."""
_READ_BYTES = 1 << 16
_LEAST_COLUMNS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """Labels and annotations found for images without a label file."""

    labels: dict[Path, Path]
    """Label file of the same name in another place, by image."""
    foreign: tuple[tuple[Path, str], ...]
    """Annotations that are not read, with the name of their format."""


def search(images: Sequence[Path], used: Collection[Path], folders: Iterable[Path]) -> Elsewhere:
    """Search for the labels of images without a label file in the place where training looks.

    Args:
        images: Images without labels.
        used: Label files that belong to other images.
        folders: Folders to search recursively.
    """
    texts: dict[str, list[Path]] = defaultdict(list)
    others: list[Path] = []
    for file in islice(_files(folders), _MOST_FILES):
        suffix = file.suffix.lower()
        if suffix == ".txt" and file not in used and file.name.lower() not in NO_LABELS:
            texts[file.stem].append(file)
        elif suffix in (".json", ".xml", ".csv"):
            others.append(file)
    found = {}
    for image in images:
        candidates = [*texts.get(image.stem, ()), *texts.get(image.name, ())]
        nearest = sorted(candidates, key=lambda file: (-_shared(file, image), str(file)))
        label = next((file for file in nearest if _holds_labels(file)), None)
        if label is not None:
            found[image] = label
    return Elsewhere(labels=found, foreign=tuple(_foreign(others, images)) if len(found) < len(images) else ())


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    seen = set()
    for folder in folders:
        for directory, below, names in os.walk(folder):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if directory in seen:
                below.clear()
                continue
            seen.add(directory)
            yield from (Path(directory, name) for name in sorted(names) if not name.startswith("."))


def _shared(file: Path, image: Path) -> int:
    """Count the folder names that occur in both paths."""
    return len({*file.parent.parts} & {*image.parent.parts})


def _holds_labels(file: Path) -> bool:
    """Check whether the first row looks like a row of a label file."""
    for line in _beginning(file).decode("utf-8-sig", "replace").splitlines():
        if words := line.split():
            return len(words) >= _LEAST_COLUMNS and all(map(_is_number, words[1:_LEAST_COLUMNS]))
    return False


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _foreign(files: Sequence[Path], images: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the first file of each format in each folder."""
    stems = {image.stem for image in images}
    told = set()
    for file in files:
        kind = _format(file, stems)
        if kind and (kind, file.parent) not in told:
            told.add((kind, file.parent))
            yield file, kind


def _format(file: Path, stems: Collection[str]) -> str:
    """Return the name of the annotation format; empty if it is unknown."""
    text = _beginning(file) + _end(file)
    is_of_image = file.stem in stems
    if file.suffix.lower() == ".csv":
        return "CSV" if b"xmin" in text[:1000].lower() and b"filename" in text[:1000].lower() else ""
    if file.suffix.lower() == ".xml":
        if is_of_image and b"<annotation" in text and b"<bndbox" in text:
            return "Pascal VOC"
        return "CVAT" if b"<annotations" in text and b"<image " in text else ""
    if sum(name in text for name in (b'"images"', b'"annotations"', b'"categories"')) > 1:
        return "COCO"
    if is_of_image and b'"shapes"' in text:
        return "LabelMe"
    return "CreateML" if b'"annotations"' in text and b'"coordinates"' in text else ""


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_READ_BYTES)
    except OSError:
        return b""


def _end(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(max(stream.seek(0, os.SEEK_END) - _READ_BYTES, 0))
            return stream.read(_READ_BYTES)
    except OSError:
        return b""
