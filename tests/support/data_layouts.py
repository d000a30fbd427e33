"""Data sets of files that are not images: only their places and the content of YAML and labels matter."""

import hashlib
from pathlib import Path

from trainer.data.dataset import DataSet, label_path

ROW = "0 0.5 0.5 0.25 0.25\n"
HEAD = "train: images/train\nval: images/val\n"


def put(path: Path, content: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_pair(image: Path, row: str = ROW) -> Path:
    """Write an image and its labels; nothing here opens images, so any bytes will do."""
    put(label_path(image), row)
    return put(image, b"image " + image.name.encode())


def make(root: Path, yaml: str = f"{HEAD}names: [cat, dog]\n") -> Path:
    """Make the guide's layout with three training and two validation images, and return the path of its YAML."""
    for name in ("a", "b", "c"):
        put_pair(root / f"images/train/{name}.jpg")
    for name in ("d", "e"):
        put_pair(root / f"images/val/{name}.jpg")
    return put(root / "dataset.yaml", yaml)


def counts(dataset: DataSet) -> dict[str, tuple[int, int]]:
    return {
        name: (split.num_images, sum(label_path(image.path).is_file() for image in split.images))
        for name, split in dataset.splits.items()
    }


def snapshot(directory: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in directory.rglob("*")
        if path.is_file()
    }
