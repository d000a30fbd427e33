"""Find label files without an image: a sign of images that were lost, renamed or never copied."""

import os
from collections.abc import Iterator
from pathlib import Path

from trainer.data.dataset import DataSet, is_image_name, label_path
from trainer.data.dataset_yaml import is_folder
from trainer.data.elsewhere import NO_LABELS


def orphan_labels(dataset: DataSet) -> dict[str, list[Path]]:
    """Return by split the label files, next to those of its images, that have no image of that name on disk."""
    labels = {label_path(image.path) for split in dataset.splits.values() for image in split.images}
    lists = {source for split in dataset.splits.values() for source in split.sources}
    seen: set[Path] = set()
    found: dict[str, list[Path]] = {}
    for name, split in dataset.splits.items():
        folders = {label_path(image.path).parent: image.path.parent for image in split.images}
        for source in filter(is_folder, split.sources):
            folders |= dict(_twin_folders(source))
        found[name] = [
            file
            for folder, of_images in sorted(folders.items())
            if folder not in seen
            for file in _without_image(folder, of_images)
            if file not in labels and file not in lists
        ]
        seen |= folders.keys()
    return {name: files for name, files in found.items() if files}


def _twin_folders(images: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the label folder of an image folder and its subfolders, each with its image folder."""
    top = label_path(images / "_.jpg").parent
    if top == images:
        return
    for directory, folders, _ in os.walk(top, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield Path(directory), images / Path(directory).relative_to(top)


def _without_image(folder: Path, of_images: Path) -> Iterator[Path]:
    """Yield the label files of a folder that have no image of that name, in the data set or outside it."""
    images = {Path(name).stem for name in _names(of_images) if is_image_name(name)}
    for name in sorted(_names(folder)):
        is_label = name.lower().endswith(".txt") and not name.startswith((".", "README"))
        if is_label and name.lower() not in NO_LABELS and Path(name).stem not in images:
            yield folder / name


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except OSError:
        return []
