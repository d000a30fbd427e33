"""Sample data set: a small object detection task that a CPU can learn in minutes.

`scenes` draws the scenes from product photos that ship with this package; docs/sample-data.md describes their contents.
With one version of numpy and Pillow, the same settings give the same bytes.
"""

import errno
import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data.sample.scenes import ASSET, Box, draw_scene, load_cutouts, split_sources
from trainer.exceptions import DataError
from trainer.system.cache import cache_folder

FORMAT = 1
"""Format version, incremented whenever the same settings start to give different scenes."""
MIN_IMAGE_SIZE = 64
"""Minimum image side in pixels; below it the smallest objects would shrink to dots."""
MIN_NAMED_IMAGES = 8
"""Minimum N of 'sample:N'."""

_MANIFEST = "sample.json"
_LICENSE = "LICENSE.txt"
_JPEG_QUALITY = 90
_SPLITS = ("train", "val")
_KNOWN_SUFFIXES = {"images": ".jpg", "labels": ".txt"}
# Files that ultralytics leaves next to images and labels; they do not change the training.
_CACHE_SUFFIXES = {".npy", ".cache"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Settings:
    format: int
    train_images: int
    val_images: int
    image_size: int
    seed: int

    def __post_init__(self) -> None:
        for name, low in (
            ("train_images", 1),
            ("val_images", 1),
            ("image_size", MIN_IMAGE_SIZE),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if value < low:
                raise DataError(
                    f"{name} of the sample data set must be at least {low}, but got {value}; choose a larger value."
                )

    def num_images(self, split: str) -> int:
        return self.train_images if split == "train" else self.val_images


def located(data: str) -> Path:
    """Return the YAML of a data set, given by path or as `sample` or `sample:N` (N training images).

    The sample data set is composed on first use.

    Raises:
        DataError: N is not a valid number of images, or the data set cannot be composed.
    """
    name, _, number = data.partition(":")
    if name != "sample":
        return Path(data)
    if not number:
        return compose(default_directory())
    if not number.isdecimal() or int(number) < MIN_NAMED_IMAGES:
        raise DataError(
            f"The sample data set must be 'sample' or 'sample:N' with at least {MIN_NAMED_IMAGES} training images, "
            f"but got '{data}'; write 'sample' or a larger N."
        )
    folder, train = default_directory(), int(number)
    return compose(folder.with_name(f"{folder.name}-{train}"), train_images=train, val_images=max(1, train // 4))


def default_directory() -> Path:
    """Return the default folder of the sample data set, below the user's cache folder."""
    return cache_folder() / f"sample-data-v{FORMAT}"


def compose(
    directory: Path, *, train_images: int = 600, val_images: int = 150, image_size: int = 128, seed: int = 0
) -> Path:
    """Write the sample data set to a new or empty folder, or reuse the existing one.

    The folder appears complete or not at all. If two processes compose at the same time, one wins and both return its
    data set.

    Args:
        directory: Folder of the data set; missing parents are created.
        train_images: Number of training images, at least 1.
        val_images: Number of validation images, at least 1.
        image_size: Side of the images in pixels, at least 64.
        seed: 0 or more.

    Returns:
        Absolute path of dataset.yaml.

    Raises:
        DataError: A setting is out of range; the folder contains something else, a sample with other settings, or an
            incomplete one; or the folder cannot be written.
    """
    settings = _Settings(
        format=FORMAT, train_images=train_images, val_images=val_images, image_size=image_size, seed=seed
    )
    directory = directory.resolve()
    try:
        if not _is_free(directory):
            return _reused(directory, settings)
        return _composed(directory, settings)
    except OSError as error:
        raise DataError(
            f"The sample data set must be writable, but writing to {str(directory)!r} failed "
            f"({error.strerror or error}); choose another folder."
        ) from error


def _is_free(directory: Path) -> bool:
    return not directory.exists() or (directory.is_dir() and not any(directory.iterdir()))


def _composed(directory: Path, settings: _Settings) -> Path:
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Next to the target, so that the rename stays within one file system.
    draft = directory.with_name(f".{directory.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _write(draft, settings)
        draft.rename(directory)
    except OSError as error:
        # A rename never replaces a folder that is not empty: another process was faster.
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return _reused(directory, settings)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return directory / "dataset.yaml"


# Reusing


def _reused(directory: Path, settings: _Settings) -> Path:
    found = _manifest(directory)
    if found is None:
        raise DataError(
            f"The folder for the sample data set must be new or empty, but {str(directory)!r} has other files; "
            "choose another folder."
        )
    wanted = asdict(settings)
    if found != wanted:
        raise DataError(
            f"The sample data set in {str(directory)!r} was created with different settings "
            f"({_differences(found, wanted)}); choose another folder, or delete this one."
        )
    for split in _SPLITS:
        for kind in _KNOWN_SUFFIXES:
            _check_files(directory / kind / split, kind, settings.num_images(split))
    if not (directory / "dataset.yaml").is_file():
        raise _damaged(directory, "lacks 'dataset.yaml'")
    return directory / "dataset.yaml"


def _manifest(directory: Path) -> dict[str, object] | None:
    try:
        content = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _differences(found: dict[str, object], wanted: dict[str, object]) -> str:
    return (
        ", ".join(
            f"{name} {found.get(name)!r:.40} instead of {value!r}"
            for name, value in wanted.items()
            if found.get(name) != value
        )
        or "unknown settings"
    )


def _check_files(folder: Path, kind: str, number: int) -> None:
    expected = {_stem(index) + _KNOWN_SUFFIXES[kind] for index in range(number)}
    found = {p.name for p in folder.iterdir() if p.suffix not in _CACHE_SUFFIXES} if folder.is_dir() else set()
    if lost := expected - found:
        raise _damaged(folder, f"lacks {len(lost)} of {number} files, for example {min(lost)!r}")
    if foreign := found - expected:
        raise _damaged(folder, f"has {len(foreign)} unexpected files, for example {min(foreign)!r}")


def _damaged(folder: Path, what: str) -> DataError:
    return DataError(
        f"The sample data set must be unchanged, but {str(folder)!r} {what}; delete the data set, "
        "or choose another folder."
    )


# Writing


def _write(draft: Path, settings: _Settings) -> None:
    cutouts = load_cutouts()
    sources = split_sources(cutouts, seed=settings.seed)
    for number, split in enumerate(_SPLITS, start=1):
        images, labels = draft / "images" / split, draft / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(settings.num_images(split)):
            # One generator per scene: scene 7 stays the same for any number of scenes.
            rng = np.random.default_rng([settings.seed, number, index])
            scene = draw_scene(cutouts, sources[split], rng, image_size=settings.image_size)
            image = Image.fromarray(scene.pixels)
            image.save(images / f"{_stem(index)}.jpg", quality=_JPEG_QUALITY)
            rows = "".join(_row(box, settings.image_size) for box in scene.boxes)
            (labels / f"{_stem(index)}.txt").write_text(rows, encoding="ascii", newline="\n")
    notice = ASSET.with_name("LICENSE-fashion-mnist.txt").read_bytes()
    (draft / _LICENSE).write_bytes(notice)
    (draft / "dataset.yaml").write_text(_yaml(cutouts.names), encoding="utf-8", newline="\n")
    manifest = json.dumps(asdict(settings), indent=2) + "\n"
    (draft / _MANIFEST).write_text(manifest, encoding="utf-8", newline="\n")


def _stem(index: int) -> str:
    return f"{index:06}"


def _row(box: Box, image_size: int) -> str:
    """Return one label row; eight decimals represent every half pixel of the usual image sizes exactly."""
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    values = (v / image_size for v in (x, y, box.right - box.left, box.bottom - box.top))
    return " ".join([str(box.source.class_id), *(f"{v:.8f}" for v in values)]) + "\n"


def _yaml(names: tuple[str, ...]) -> str:
    # No `path` key: every reader then uses the folder of this file, so the data set can be moved.
    lines = [
        "# Sample data set of mamba-yolo-tuner, composed from Fashion-MNIST (MIT licence, see LICENSE.txt).",
        "train: images/train",
        "val: images/val",
        f"nc: {len(names)}",
        "names:",
        *(f"  {number}: {name}" for number, name in enumerate(names)),
    ]
    return "\n".join(lines) + "\n"
