"""Find the images and labels of a data set on disk, and hash them. A user's own files are only read."""

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
"""Lower case; what ultralytics 8.4 takes for an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """One image file of a split."""

    path: Path
    """Absolute, links not followed."""
    name: str
    """Path from the folder or list file that it was found by, with slashes; moving the data set keeps it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The images of train, val or test."""

    sources: tuple[Path, ...]
    """Absolute folders and list files."""
    images: tuple[Image, ...]
    """In the order of their paths."""

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A data set as it lies on disk."""

    source: Path
    """Absolute path of the YAML file."""
    root: Path
    """Absolute folder that the YAML's paths count from."""
    names: tuple[str, ...]
    """Class names by class id."""
    splits: Mapping[str, Split]
    """By train, val and, where there is one, test."""
    channels: int = 3
    """Of its images."""
    keypoints: Keypoints | None = None
    """What follows each box in its labels; none where nothing does."""
    notes: tuple[str, ...] = ()
    """What the user should know though it stops nothing; one line each."""

    def folders(self) -> tuple[Path, ...]:
        """Where its files lie: its root, and the folders of images outside of that."""
        sources = {source if is_folder(source) else source.parent for s in self.splits.values() for source in s.sources}
        outside = sorted(source.parent for source in sources if not source.is_relative_to(self.root))
        return tuple(dict.fromkeys((self.root, *outside)))


def resolve(source: Path) -> DataSet:
    """Find what a data set YAML describes.

    Raises:
        DataError: the YAML is at fault; train or val has a source that is missing or holds no image; or no training
            image has a label file.
    """
    description = read_description(source)
    notes: list[str] = list(description.notes)
    splits = {}
    for name, entries in description.splits.items():
        if name == "test" and not any(_existing(entry) for entry in entries):
            # Roboflow names a test folder in every export, also when it made none.
            notes.append(f"{entries[0].place}: test is left out, for there is no {shown(entries[0].text)}.")
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
    """Where the labels of an image are: the last folder `images` becomes `labels`, the suffix .txt.

    Without such a folder, they lie beside the image.
    """
    head, separator, tail = str(image).rpartition(f"{os.sep}images{os.sep}")
    return (Path(f"{head}{os.sep}labels{os.sep}{tail}") if separator else image).with_suffix(".txt")


def fingerprint(dataset: DataSet) -> str:
    """SHA-256, in hex, of names and sizes of the images and content of the label files, split by split.

    And of how these are read, where that is out of the ordinary.

    The same wherever the data set lies. An image without a label file counts as one with an empty file:
    both train as background.

    Raises:
        DataError: a file cannot be read, or has gone since the data set was resolved.
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
                f"{name} must be a folder or a .txt list, from {shown(str(description.root))}, "
                f"but got {shown(entry.text)} and there is no {shown(str(entry.candidates[0]))}",
                "fetch the data first (`download` is not followed here), or mend the path in this line"
                if description.download
                else "mend the path in this line",
            )
        sources.append(source)
        images += _listed(source, description.root, notes) if is_file(source) else _in_folder(source)
    if not images:
        rule = f"{name} must hold at least one image ({_suffixes()}), but got none in "
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
    """Whether a file of that name is taken for an image."""
    # Names with a leading dot are other programs' droppings, such as the ._x.jpg of a Mac.
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def _in_folder(folder: Path) -> Iterator[Image]:
    for directory, names in _walk(folder):
        for name in filter(is_image_name, names):
            path = directory / name
            if is_file(path):
                yield Image(path=path, name=path.relative_to(folder).as_posix())


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder once, links followed; two links to one folder, or a link upwards, count once."""
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
    """The images named in a list file; lines that name none that exists are noted."""
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
        rule = f"A list must name images that exist, but none of its {len(missing)} does"
        raise data_error(
            Place(file=file, line=missing[0]),
            rule,
            "write paths from the folder of the list, or absolute ones",
        )
    if missing:
        place = Place(file=file, line=missing[0])
        notes.append(f"{place}: {len(missing)} images of this list do not exist; this line names the first.")
    return images


def _meanings(text: str, file: Path, root: Path) -> Iterator[Path]:
    yield joined(file.parent, text)
    yield joined(root, text)
    # Darknet's habit, kept by some exports: a folder data that the archive does not have.
    if text.replace("\\", "/").startswith("data/"):
        yield joined(file.parent, text[len("data/") :])


def _lines(file: Path) -> list[str]:
    try:
        # Names on disk need not be UTF-8; surrogates bring such bytes back to the file system unharmed.
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
        rule = f"No image of {name} has a label file, the first would be {shown(str(expected))}"
        if name == "train":
            raise data_error(place, rule, _where_labels_are([p.path for p in split.images], folders))
        notes.append(f"{place}: {rule}; every metric on {name} will be 0.")


def _where_labels_are(images: Sequence[Path], folders: Sequence[Path]) -> str:
    """What to do about images none of which has a label file."""
    elsewhere = search(images, (), folders)
    if elsewhere.labels:
        image, label = next(iter(elsewhere.labels.items()))
        what = f"{len(elsewhere.labels)} label files of these names" if len(elsewhere.labels) > 1 else "one"
        return f"{what} lie elsewhere, that of {image.name} as {shown(str(label))}: move them there"
    if elsewhere.foreign:
        file, kind = elsewhere.foreign[0]
        return f"{shown(str(file))} has annotations of {kind}, which are not read: convert them to YOLO's rows"
    return "put labels where images has its twin folder labels"


# Reading


def _read_pair(image: Path) -> tuple[int, bytes]:
    """Size of the image and content of its label file."""
    file = image
    try:
        size = image.stat().st_size
        file = label_path(image)
        return size, file.read_bytes() if is_file(file) else b""
    except OSError as error:
        rule = f"Every image and label file must be readable, but got {error.strerror!r}"
        raise data_error(Place(file=file), rule, "check that it is there, and its permissions") from error
