"""Find the images and labels of a data set on disk, and hash them. This module only reads the user's files."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.data.dataset_keys import Keypoints
from trainer.data.dataset_yaml import (
    Description,
    Place,
    SplitEntry,
    data_error,
    is_file,
    is_folder,
    joined,
    read_description,
    shown,
)
from trainer.data.elsewhere import search

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg"} | {".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"}
)
"""Suffixes that ultralytics 8.4 accepts as images, in lower case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One image file of a split."""

    path: Path
    """Absolute path; links are not followed."""
    name: str
    """Path relative to its source folder or list file, with slashes; it stays the same if the data set is moved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The images of train, val or test."""

    sources: tuple[Path, ...]
    """Absolute paths of folders and list files."""
    images: tuple[Image, ...]
    """Images in the order of their paths."""

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A data set on disk."""

    source: Path
    """Absolute path of the YAML file, or of the JSON file that it was converted from."""
    root: Path
    """Absolute folder that the paths in the YAML are relative to."""
    names: tuple[str, ...]
    """Class names by class id."""
    splits: Mapping[str, Split]
    """Splits by name: train, val and, if present, test."""
    channels: int = 3
    """Number of channels of the images."""
    keypoints: Keypoints | None = None
    """Layout of the keypoints after each box in the labels; None if there are none."""
    notes: tuple[str, ...] = ()
    """Notes for the user that stop nothing, one line each."""
    converted: bool = False
    """True if the images are links in a folder that was converted from another format."""

    def folders(self) -> tuple[Path, ...]:
        """Return the folders of its files: the root, and the image folders outside the root."""
        sources = {source if is_folder(source) else source.parent for s in self.splits.values() for source in s.sources}
        outside = sorted(source.parent for source in sources if not source.is_relative_to(self.root))
        return tuple(dict.fromkeys((self.root, *outside)))


def resolve(source: Path) -> DataSet:
    """Find the files of the data set that a YAML describes.

    Raises:
        DataError: the YAML is invalid; a source of train or val is missing or has no images; or no training image has
            a label file.
    """
    description = read_description(source)
    notes: list[str] = list(description.notes)
    splits = {}
    for name, entries in description.splits.items():
        if name == "test" and not any(_existing(entry) for entry in entries):
            # Roboflow names a test folder in every export, even if the export has none.
            notes.append(
                f"{entries[0].place}: the data set has no test split, because {shown(entries[0].text)} does not exist."
            )
            continue
        splits[name] = _split(name, entries, description, notes)
    found = DataSet(
        source=description.file,
        root=description.root,
        names=description.names,
        splits=splits,
        channels=description.channels,
        keypoints=description.keypoints,
    )
    _check_labels(splits, description, found.folders(), notes)
    return replace(found, notes=tuple(notes))


def label_path(image: Path) -> Path:
    """Return the path of an image's labels: the last folder `images` becomes `labels`, and the suffix `.txt`.

    Without a folder `images`, the labels are next to the image.
    """
    head, separator, tail = str(image).rpartition(f"{os.sep}images{os.sep}")
    return (Path(f"{head}{os.sep}labels{os.sep}{tail}") if separator else image).with_suffix(".txt")


def fingerprint(dataset: DataSet) -> str:
    """Return a SHA-256 in hex of the names and sizes of the images and the content of the label files of all splits.

    The hash includes channels and keypoints if they are not the defaults. It does not depend on the location of the
    data set. An image without a label file counts as one with an empty file: both train as background.

    Raises:
        DataError: a file cannot be read, or has disappeared since the data set was resolved.
    """
    digest = hashlib.sha256()
    if dataset.channels != 3 or dataset.keypoints is not None:
        digest.update(json.dumps([dataset.channels, dataset.keypoints]).encode() + b"\n")
    for split in sorted(dataset.splits):
        for image in sorted(dataset.splits[split].images, key=lambda image: image.name):
            size, labels = _read_pair(image.path)
            line = json.dumps([split, image.name, size, hashlib.sha256(labels).hexdigest()])
            digest.update(line.encode() + b"\n")
    return digest.hexdigest()


# Finding


def _split(name: str, entries: tuple[SplitEntry, ...], description: Description, notes: list[str]) -> Split:
    sources: list[Path] = []
    images: list[Image] = []
    for entry in entries:
        source = _existing(entry)
        if source is None:
            raise data_error(
                entry.place,
                f"{name} must be a folder or a .txt list, relative to {shown(str(description.root))}, "
                f"but got {shown(entry.text)} and {shown(str(entry.candidates[0]))} does not exist",
                "download the data first (this tool ignores `download`), or correct the path in this line"
                if description.download
                else "correct the path in this line",
            )
        sources.append(source)
        images += _listed(source, description.root, notes) if is_file(source) else _in_folder(source)
    if not images:
        rule = f"{name} must have at least one image ({_suffixes()}), but there are none in "
        raise data_error(entries[0].place, rule + shown([str(s) for s in sources]), "check the path")
    return Split(
        sources=tuple(sources),
        images=tuple(sorted(images, key=lambda image: image.path)),
    )


def _suffixes() -> str:
    return ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))


def _existing(entry: SplitEntry) -> Path | None:
    return next((path for path in entry.candidates if is_folder(path) or _is_list(path)), None)


def _is_list(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and is_file(path)


def is_image_name(name: str) -> bool:
    """Check whether a file name is that of an image."""
    # Names with a leading dot belong to other programs, such as the ._x.jpg files of macOS.
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def _in_folder(folder: Path) -> Iterator[Image]:
    for directory, names in _walk(folder):
        for name in filter(is_image_name, names):
            path = directory / name
            if is_file(path):
                yield Image(path=path, name=path.relative_to(folder).as_posix())


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder once, following links; two links to one folder, or a link upwards, count once."""
    seen = set()

    def refuse(error: OSError) -> None:
        rule = f"Every folder of a data set must be readable, but got {error.strerror!r}"
        raise data_error(Place(file=Path(error.filename)), rule, "check its permissions")

    for directory, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(directory).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(directory), sorted(names)


def _listed(file: Path, root: Path, notes: list[str]) -> list[Image]:
    """Return the images named in a list file; add a note about images that do not exist."""
    images, missing = [], []
    for number, line in enumerate(_lines(file), start=1):
        text = line.strip()
        if not is_image_name(text.replace("\\", "/").rpartition("/")[2]):
            continue
        path = next((path for path in _meanings(text, file, root) if is_file(path)), None)
        if path is None:
            missing.append(number)
            continue
        images.append(Image(path=path, name=Path(os.path.relpath(path, file.parent)).as_posix()))
    if missing and not images:
        rule = f"A list must name existing images, but none of its {len(missing)} images exists"
        raise data_error(
            Place(file=file, line=missing[0]),
            rule,
            "write absolute paths, or paths relative to the folder of the list",
        )
    if missing:
        place = Place(file=file, line=missing[0])
        notes.append(f"{place}: {len(missing)} images of this list do not exist, the first in this line.")
    return images


def _meanings(text: str, file: Path, root: Path) -> Iterator[Path]:
    yield joined(file.parent, text)
    yield joined(root, text)
    # Some exports follow Darknet and prepend a folder `data` that the archive does not have.
    if text.replace("\\", "/").startswith("data/"):
        yield joined(file.parent, text[len("data/") :])


def _lines(file: Path) -> list[str]:
    try:
        # File names need not be UTF-8; surrogateescape passes these bytes back to the file system unchanged.
        return file.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        rule = f"A list must be readable, but got {error.strerror!r}"
        raise data_error(Place(file=file), rule, "check its permissions") from error


def _check_labels(
    splits: Mapping[str, Split], description: Description, folders: Sequence[Path], notes: list[str]
) -> None:
    for name, split in splits.items():
        if any(is_file(label_path(image.path)) for image in split.images):
            continue
        expected = label_path(split.images[0].path)
        place = description.splits[name][0].place
        rule = (
            f"At least one image of {name} must have a label file, "
            f"but {shown(str(expected))} and all others are missing"
        )
        if name == "train":
            raise data_error(place, rule, _where_labels_are([p.path for p in split.images], folders))
        notes.append(f"{place}: {rule}; every metric on {name} will be 0.")


def _where_labels_are(images: Sequence[Path], folders: Sequence[Path]) -> str:
    """Return the remedy if no image has a label file."""
    elsewhere = search(images, (), folders)
    if elsewhere.labels:
        image, label = next(iter(elsewhere.labels.items()))
        what = f"{len(elsewhere.labels)} label files of these names" if len(elsewhere.labels) > 1 else "one"
        return f"found {what} elsewhere, for {image.name} {shown(str(label))}: move them to the expected folder"
    if elsewhere.foreign:
        file, kind = elsewhere.foreign[0]
        if kind == "COCO":
            return f"{shown(str(file))} has COCO annotations: give this file as the data set"
        return f"{shown(str(file))} has {kind} annotations, which are not supported: convert them to YOLO label files"
    return "put the label files in a folder `labels` next to the folder `images`"


# Reading


def _read_pair(image: Path) -> tuple[int, bytes]:
    """Return the size of an image in bytes and the content of its label file."""
    file = image
    try:
        size = image.stat().st_size
        file = label_path(image)
        return size, file.read_bytes() if is_file(file) else b""
    except OSError as error:
        rule = f"Every image and label file must be readable, but got {error.strerror!r}"
        raise data_error(Place(file=file), rule, "check that it exists, and its permissions") from error
