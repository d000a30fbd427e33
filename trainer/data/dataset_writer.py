"""Write a data set as a YAML and lists that ultralytics and other tools read the same, outside the user's own files."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trainer.data.dataset import DataSet, Image, label_path, resolve
from trainer.data.dataset_yaml import Place, data_error, is_folder, shown
from trainer.system import atomic_files

_MOST_READ = 4000
"""Images of a split, about, whose boxes are counted; each costs the opening of a file."""


def write_resolved(dataset: DataSet, target: Path) -> Path:
    """Write a YAML that ultralytics reads the same from any working directory, with its list files next to it.

    The YAML names no folder, so it can be moved together with its lists. Each split becomes
    `<target's stem>.<split>.txt`, a list of paths: relative for images below the folder of the YAML, so that they move
    with it, absolute for all others. Lists keep links as written; for a folder, ultralytics
    would follow the link and look for labels at its target.

    Args:
        dataset: the data set as returned by `resolve`.
        target: the YAML to write; its folder exists.

    Returns:
        Absolute path of the YAML.

    Raises:
        DataError: the target is in a folder of the user's data, or an image's path cannot be written in a list.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100 - keep the path as the caller wrote it
    check_target(dataset, target)
    lists = {split: target.with_name(f"{target.stem}.{split}.txt") for split in dataset.splits}
    for split, file in lists.items():
        paths = [_listable(image.path, target.parent, dataset.source) for image in dataset.splits[split].images]
        atomic_files.write_whole(file, "".join(f"{path}\n" for path in paths).encode())
    text = yaml_text(dataset, None, {split: file.name for split, file in lists.items()})
    atomic_files.write_whole(target, text.encode())
    return target


def write_part(source: Path, target: Path, *, max_images: int) -> Path:
    """Write a YAML like `write_resolved` with only the images of each split that have the most boxes.

    The memory of a batch grows with its boxes. Of a large split, some thousand images stand for all.

    Args:
        source: the YAML of the whole data set.
        target: the YAML to write; its folder exists.
        max_images: maximum number of images of each split, 1 or more.

    Returns:
        Absolute path of the YAML.

    Raises:
        DataError: as `resolve` and `write_resolved`.
    """
    dataset = resolve(source)
    splits = {
        name: replace(split, images=_with_most_boxes(split.images, max_images))
        for name, split in dataset.splits.items()
    }
    return write_resolved(replace(dataset, splits=splits), target)


def _with_most_boxes(images: Sequence[Image], number: int) -> tuple[Image, ...]:
    some = images[:: max(len(images) // _MOST_READ, 1)]
    return tuple(sorted(some, key=_num_boxes, reverse=True)[:number])


def _num_boxes(image: Image) -> int:
    try:
        return label_path(image.path).read_bytes().count(b"\n") + 1
    except OSError:  # an image without objects needs no file
        return 0


def yaml_text(dataset: DataSet, root: Path | None, splits: Mapping[str, str]) -> str:
    """Return a YAML of the data set with other split paths, relative to `root`, or to the file's folder if None."""
    # JSON strings are valid YAML and mean the same in YAML 1.1, which reads a bare no as False.
    fields = {**({} if root is None else {"path": str(root)}), **splits}
    lines = [f"{key}: {_quoted(value)}" for key, value in fields.items()]
    if dataset.channels != 3:
        lines.append(f"channels: {dataset.channels}")
    if dataset.keypoints is not None:
        lines.append(f"kpt_shape: {list(dataset.keypoints)}")
    lines += [f"nc: {len(dataset.names)}", "names:"]
    lines += [f"  {index}: {_quoted(name)}" for index, name in enumerate(dataset.names)]
    return "\n".join(lines) + "\n"


def check_target(dataset: DataSet, target: Path) -> None:
    """Check that a file to write is outside the user's images and labels, and not next to the YAML.

    Raises:
        DataError: the target is in one of these folders.
    """
    folder = target.parent.resolve()
    same_folder = {dataset.source.parent.resolve(), dataset.root.resolve()}
    within = {path.resolve() for path in _data_folders(dataset)}
    if folder in same_folder or any(folder.is_relative_to(path) for path in within):
        rule = "Output must be outside the data set's folders, but this file would be in one of them"
        raise data_error(Place(file=target), rule, "choose another folder")


def _data_folders(dataset: DataSet) -> Iterable[Path]:
    for split in dataset.splits.values():
        for source in split.sources:
            if is_folder(source):
                yield source
                yield label_path(source / "_.jpg").parent


def _listable(path: Path, folder: Path, source: Path) -> str:
    # ultralytics replaces a leading ./ by the folder of the list.
    text = f"./{path.relative_to(folder)}" if path.is_relative_to(folder) else str(path)
    # ultralytics splits the list with splitlines.
    if len(text.splitlines()) != 1 or text != text.encode("utf-8", "replace").decode():
        rule = f"The path of an image must be UTF-8 text on one line, but got {shown(text)}"
        raise data_error(Place(file=source), rule, "rename the image")
    return text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
