"""Check every image and label file of a data set in several processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.data.checking.images import SMALL_SIDE, FlawedImage, ImageFacts, ImageFlaw, examine
from trainer.data.checking.known_images import KnownImages
from trainer.data.checking.label_forms import Form, joined
from trainer.data.checking.labels import FlawedRow, Labels, RowFlaw, read_labels
from trainer.data.dataset import label_path
from trainer.system.parallel import in_processes

Flaw = TypeVar("Flaw")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """Facts about some images; row i of an array belongs to image i unless stated otherwise."""

    shapes: NDArray[np.int32]
    """Width and height in pixels in training, 0 for an unreadable image: (images, 2)."""
    num_bytes: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    """Checksums of the image files; with the sizes, they show which files may be copies of each other."""
    small: NDArray[np.uint8]
    """Grey values in rows of 16, all 0 if training cannot decode the image: (images, 256)."""
    has_labels: NDArray[np.bool_]
    """True for images with a label file."""
    num_boxes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    """Class id, centre x and y, width, height as fractions of the image, image after image: (boxes, 5)."""
    image_flaws: tuple[tuple[int, FlawedImage], ...]
    """Flaws with the number of the image."""
    row_flaws: tuple[tuple[int, FlawedRow], ...]
    """Flaws with the number of the image."""
    form: Form
    """Common form of the rows that are not boxes."""

    def usable(self) -> NDArray[np.bool_]:
        """Return a mask of the images that can be trained on: readable, and without a label flaw that loses them."""
        usable = np.ones(len(self.shapes), bool)
        usable[[i for i, found in self.image_flaws if found.flaw.loses_image]] = False
        usable[[i for i, row in self.row_flaws if row.flaw.loses_image]] = False
        return usable

    def image_of_box(self) -> NDArray[np.int64]:
        """Return the image number of each box: (boxes,)."""
        return np.repeat(np.arange(len(self.num_boxes)), self.num_boxes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Settings with which training reads the files of a data set."""

    num_classes: int
    channels: int = 3
    keypoint_columns: int = 0
    """Number of columns that follow a box in the labels."""


def scan(images: Sequence[Path], reading: Reading, on_progress: Callable[[int], None] = lambda done: None) -> Scan:
    """Check images and their label files. This writes nothing, and does not raise for a bad or unreadable file.

    Every image is decoded, unless an image with the same content was decoded before; see `known_images`.

    Args:
        images: paths; `label_path` gives the paths of the labels.
        reading: settings for reading the files.
        on_progress: called with the number of finished images now and then.

    Raises:
        BrokenProcessPool: a process was killed, or crashed on a file.
    """
    return _joined(list(in_processes(partial(_scanned, reading), images, on_progress)))


def _scanned(reading: Reading, images: Sequence[Path]) -> Scan:
    with _quiet_decoders():
        judged = _judged(images, reading.channels)
    labels = [_labels(label_path(path), reading) for path in images]
    boxes = [box[1:] for each in labels if each is not None for box in each.boxes]
    return Scan(
        shapes=np.array([(each.facts.width, each.facts.height) for each in judged], np.int32).reshape(-1, 2),
        num_bytes=np.array([each.num_bytes for each in judged], np.int64),
        checksums=np.array([int.from_bytes(each.digest[:4]) for each in judged], np.uint32),
        small=np.stack([_small(each.facts) for each in judged]),
        has_labels=np.array([each is not None for each in labels], bool),
        num_boxes=np.array([len(each.boxes) if each else 0 for each in labels], np.int64),
        boxes=np.array(boxes, np.float32).reshape(-1, 5),
        image_flaws=tuple((i, found) for i, each in enumerate(judged) for found in each.facts.flaws),
        row_flaws=tuple((i, row) for i, each in enumerate(labels) if each for row in each.flaws),
        form=joined([each.form for each in labels if each]),
    )


class _Judged(NamedTuple):
    facts: ImageFacts
    num_bytes: int = 0
    digest: bytes = b""


def _judged(images: Sequence[Path], channels: int) -> list[_Judged]:
    """Return the facts about each image, from the cache or by decoding it."""
    with KnownImages(channels) as known:
        return [_image(path, channels, known) for path in images]


def _image(path: Path, channels: int, known: KnownImages) -> _Judged:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - takes a quarter of the time of Path.read_bytes
            content = file.read()
    except OSError as error:
        flaw = FlawedImage(ImageFlaw.UNREADABLE, error.strerror or type(error).__name__)
        return _Judged(ImageFacts(width=0, height=0, flaws=(flaw,)))
    suffix = path.suffix.lower()
    digest = known.digest(content, suffix)
    facts = known.get(digest)
    if facts is None:
        facts = examine(content, suffix, channels)
        known.add(digest, facts)
    return _Judged(facts, len(content), digest)


def _small(facts: ImageFacts) -> NDArray[np.uint8]:
    return np.frombuffer(facts.small or bytes(SMALL_SIDE**2), np.uint8)


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Suppress messages of C libraries about broken files; the findings report these files."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _labels(path: Path, reading: Reading) -> Labels | None:
    """Read a label file; None if there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return read_labels(file.read(), reading.num_classes, reading.keypoint_columns)
    except FileNotFoundError:
        return None
    except OSError as error:
        row = FlawedRow(0, RowFlaw.UNREADABLE, error.strerror or type(error).__name__)
        return Labels(boxes=(), flaws=(row,))


def _joined(parts: Sequence[Scan]) -> Scan:
    starts = np.cumsum([0, *(len(part.shapes) for part in parts)]).tolist()
    return Scan(
        shapes=np.concatenate([part.shapes for part in parts]),
        num_bytes=np.concatenate([part.num_bytes for part in parts]),
        checksums=np.concatenate([part.checksums for part in parts]),
        small=np.concatenate([part.small for part in parts]),
        has_labels=np.concatenate([part.has_labels for part in parts]),
        num_boxes=np.concatenate([part.num_boxes for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        image_flaws=tuple(_renumbered(starts, [part.image_flaws for part in parts])),
        row_flaws=tuple(_renumbered(starts, [part.row_flaws for part in parts])),
        form=joined([part.form for part in parts]),
    )


def _renumbered(starts: Sequence[int], parts: Sequence[Sequence[tuple[int, Flaw]]]) -> Iterator[tuple[int, Flaw]]:
    """Yield the flaws of all parts, with the number of the image in the whole data set."""
    for start, flaws in zip(starts, parts, strict=False):
        yield from ((start + number, flaw) for number, flaw in flaws)
