"""Convert a data set in COCO JSON to a folder of links to its images with YOLO labels.

ultralytics' own converter (`ultralytics.data.converter.convert_coco`, 8.4.190) is not used. It takes the category id
minus one for the class, which is wrong for ids with gaps or from 0, as Roboflow's and FiftyOne's. It also appends to
existing files, leaves boxes beyond the image as they are, and neither finds images nor compares their sizes.
"""

import hashlib
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from trainer.data.coco.boxes import Rows, rows_of
from trainer.data.coco.classes import Classes, classes_of
from trainer.data.coco.coco_yaml import CocoSource
from trainer.data.coco.images import FoundImages, find_images
from trainer.data.coco.reading import CROWD, KEYPOINTS, NO_BOX, NO_IMAGE, CocoFile, read_coco
from trainer.data.dataset import DataSet, label_path, resolve
from trainer.data.dataset_writer import yaml_text
from trainer.data.dataset_yaml import Place, data_error, shown
from trainer.system import atomic_files

VAL_SHARE = 0.2
"""Share of the images that become val if the data set has no JSON file for val."""

_FORMAT = 1
"""Version of the conversion. Raise it with every change of names or labels, so that none is reused."""
_MANIFEST = "conversion.json"
_YAML = "data.yaml"
_CACHES = (".cache", ".npy")
"""Suffixes of files that plain ultralytics leaves next to images and labels."""
_COPY = re.compile(r"\.rf\.[0-9A-Za-z]+$")
"""Part that Roboflow adds to the name of each augmented copy of an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """An image of the converted data set."""

    name: str
    """Relative path in the folder of its split."""
    image: Path
    rows: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """Contents of the converted data set."""

    splits: Mapping[str, tuple[_Entry, ...]]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    complete: bool
    """True if every image was found, so that the result cannot improve as long as no file changes."""


def converted(source: CocoSource, folder: Path) -> DataSet:
    """Return the data set as converted in a folder that only this function writes; reuse it if nothing has changed.

    The user's files are only read. The folder appears complete or not at all.

    Args:
        source: The data set.
        folder: Folder of the conversion; missing parents are created.

    Raises:
        DataError: A file is not COCO JSON, contradicts itself or the images, or the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.held(folder.with_name(f"{folder.name}.lock")):
            for left in (_draft(folder), _former(folder)):  # of a conversion that was killed
                shutil.rmtree(left, ignore_errors=True)
            key = _key(source)
            notes = _reusable(folder, key)
            if notes is None:
                plan = _plan(source)
                _write(plan, source.channels, folder)
                notes = plan.notes
                _write_manifest(folder, key, plan)
    except OSError as error:
        rule = f"The folder for converted labels must be writable, with symbolic links, but got {error.strerror!r}"
        remedy = "choose a folder on another file system"
        raise data_error(Place(file=Path(error.filename or folder)), rule, remedy) from error
    found = resolve(folder / _YAML)
    return replace(found, source=source.source, converted=True, notes=(*source.notes, *notes, *found.notes))


# Reusing


def _key(source: CocoSource) -> str:
    """Return a digest of all that determines the conversion, except the images."""
    files = {
        split: [str(of.json), _sha256(of.json), None if of.images is None else str(of.images)]
        for split, of in source.splits.items()
    }
    text = json.dumps([_FORMAT, files, source.names, source.channels])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _sha256(file: Path) -> str:
    try:
        return atomic_files.sha256(file)
    except OSError as error:
        rule = f"A JSON file must be readable, but got {error.strerror!r}"
        raise data_error(Place(file=file), rule, "check the path and its permissions") from error


def _reusable(folder: Path, key: str) -> tuple[str, ...] | None:
    """Return the notes of an earlier conversion of the same files that nobody has changed; None without one."""
    try:
        kept = json.loads((folder / _MANIFEST).read_text("ascii"))
        if kept["key"] == key and kept["complete"] and kept["state"] == _state(folder):
            return tuple(kept["notes"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a partial or foreign file can be wrong in any way; convert again
    return None


def _write_manifest(folder: Path, key: str, plan: _Plan) -> None:
    body = {"key": key, "complete": plan.complete, "state": _state(folder), "notes": plan.notes}
    atomic_files.write_whole(folder / _MANIFEST, json.dumps(body).encode("ascii"))


def _state(folder: Path) -> str:
    """Return a digest of names, sizes and times of the images, where the links lead, and of the label files."""
    digest = hashlib.sha256()
    for directory, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            if directory == str(folder) or name.endswith(_CACHES):
                continue
            path = f"{directory}/{name}"
            status = os.stat(path)  # noqa: PTH116 - a Path for each of 200,000 files takes longer than the call
            line = f"{path[len(str(folder)) :]}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


# Planning


def _plan(source: CocoSource) -> _Plan:
    files = {split: read_coco(of.json) for split, of in source.splits.items()}
    classes = classes_of(files)
    _check_names(source, classes)
    notes = [
        f"{shown(name)} is not a class: it has no boxes and only groups other categories." for name in classes.groups
    ]
    splits: dict[str, tuple[_Entry, ...]] = {}
    complete = True
    for split, coco in files.items():
        found = find_images(coco, source.splits[split])
        rows = rows_of(coco, found.sizes, classes.of_category[split])
        if split == "train" and not rows.num_boxes:
            rule = "At least one image of train must have a box, but none of "
            raise data_error(Place(file=coco.file), f"{rule}{len(coco.images)} has one", "label the images")
        notes += [f"{Place(file=coco.file)}: {note}." for note in _told(coco, found, rows)]
        splits[split] = tuple(_entries(found, rows))
        complete = complete and not found.lost
    if "val" not in splits:
        splits["train"], splits["val"] = _parted(splits["train"], files["train"].file)
        place = Place(file=files["train"].file)
        notes.append(
            f"{place}: there is no file for val, so {len(splits['val'])} of its images are val and "
            f"{len(splits['train'])} train, chosen by a hash of their names; name your own files in a YAML."
        )
    return _Plan(splits=splits, names=classes.names, notes=tuple(notes), complete=complete)


def _check_names(source: CocoSource, classes: Classes) -> None:
    if source.names is not None and source.names != classes.names:
        rule = (
            f"names must be the categories of the JSON files in the order of their ids, {shown(list(classes.names))}, "
            f"but got {shown(list(source.names))}"
        )
        raise data_error(Place(file=source.source), rule, "correct names, or delete the line")


def _told(coco: CocoFile, found: FoundImages, rows: Rows) -> Iterator[str]:
    """Yield everything in which the converted data set differs from the file."""
    yield from (f"{lost}; left out" for lost in found.lost)
    yield from found.notes
    for why in (CROWD, NO_BOX, NO_IMAGE):
        if number := coco.counts.get(why):
            yield f"left out: {_counted(number, 'annotation')} {why}"
    if number := coco.counts.get(KEYPOINTS):
        yield f"{_counted(number, 'annotation')} {KEYPOINTS}: a detector trains on the boxes"
    if rows.num_clipped:
        yield f"clipped: {_counted(rows.num_clipped, 'box', 'boxes')} beyond the border of the image"
    if rows.num_dropped:
        yield f"left out: {_counted(rows.num_dropped, 'box', 'boxes')} without width or height inside the image"


def _counted(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _entries(found: FoundImages, rows: Rows) -> Iterator[_Entry]:
    for image in found.images:
        yield _Entry(
            name=image.name,
            image=image.path,
            rows="".join(rows.of_image.get(number, "") for number in image.numbers),
        )


def _parted(entries: tuple[_Entry, ...], file: Path) -> tuple[tuple[_Entry, ...], tuple[_Entry, ...]]:
    """Part the images into train and val in the order of a hash of their names; copies of one image stay together."""
    by_origin: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        by_origin[_COPY.sub("", str(PurePosixPath(entry.name).with_suffix("")))].append(entry)
    if len(by_origin) < 2:
        rule = f"A data set must have images for train and val, but got {len(by_origin)} without copies"
        raise data_error(Place(file=file), rule, "add a JSON file for val, or images")
    ordered = sorted(by_origin, key=lambda origin: hashlib.sha256(origin.encode()).digest())
    val: set[str] = set()
    for origin in ordered[:-1]:
        if len(val) >= VAL_SHARE * len(entries):
            break
        val.update(entry.name for entry in by_origin[origin])
    train = tuple(entry for entry in entries if entry.name not in val)
    return train, tuple(entry for entry in entries if entry.name in val)


# Writing


def _write(plan: _Plan, channels: int, folder: Path) -> None:
    """Write the data set to a new folder and move it to its place."""
    draft = _draft(folder)
    made: set[Path] = set()
    for split, entries in plan.splits.items():
        for entry in entries:
            link = draft / "images" / split / entry.name
            labels = label_path(link)
            for parent in {link.parent, labels.parent} - made:
                parent.mkdir(parents=True, exist_ok=True)
                made.add(parent)
            link.symlink_to(entry.image)
            labels.write_text(entry.rows, encoding="ascii", newline="\n")
    described = DataSet(source=folder / _YAML, root=folder, names=plan.names, splits={}, channels=channels)
    text = yaml_text(described, None, {split: f"images/{split}" for split in plan.splits})
    (draft / _YAML).write_text(text, encoding="utf-8", newline="\n")
    if folder.exists():
        folder.rename(_former(folder))
    draft.rename(folder)
    shutil.rmtree(_former(folder), ignore_errors=True)


def _draft(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.tmp")


def _former(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.former.tmp")
