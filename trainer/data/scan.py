"""Every picture and label file of a data set, judged one by one, several processes at once."""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import label_path
from trainer.data.labels import FlawedRow, Labels, RowFlaw, read_labels
from trainer.data.pictures import FlawedPicture, PictureFacts, PictureFlaw, examine
from trainer.parallel import in_processes

_END_BYTES = 4096

Flaw = TypeVar("Flaw")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What is known of some pictures; row i of an array belongs to picture i where nothing else is said."""

    shapes: NDArray[np.int32]
    """(pictures, 2): width and height in pixels as trained on, 0 where there is no picture."""
    num_bytes: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    """CRC-32 of the ends of the picture files: with their sizes, enough to tell which may be copies of each other."""
    has_labels: NDArray[np.bool_]
    """Whether there is a label file."""
    num_boxes: NDArray[np.int64]
    boxes: NDArray[np.float32]
    """(boxes, 5), of one picture after the other: class id, centre x and y, width, height; shares of the picture."""
    picture_flaws: tuple[tuple[int, FlawedPicture], ...]
    """With the number of the picture."""
    row_flaws: tuple[tuple[int, FlawedRow], ...]
    """With the number of the picture."""

    def usable(self) -> NDArray[np.bool_]:
        """Which pictures can be trained on: readable, and no row of the labels loses them."""
        usable = np.ones(len(self.shapes), bool)
        usable[[i for i, found in self.picture_flaws if found.flaw.loses_picture]] = False
        usable[[i for i, row in self.row_flaws if row.flaw.loses_picture]] = False
        return usable

    def picture_of_box(self) -> NDArray[np.int64]:
        """(boxes,): the number of the picture that each is in."""
        return np.repeat(np.arange(len(self.num_boxes)), self.num_boxes)


def scan(pictures: Sequence[Path], num_classes: int, hear: Callable[[int], None] = lambda done: None) -> Scan:
    """Judge pictures and their label files. Nothing is written, and nothing raised for a bad or unreadable file.

    Args:
        pictures: paths; labels are looked for where `label_path` says.
        num_classes: of the data set.
        hear: told how many pictures are done, now and then.

    Raises:
        BrokenProcessPool: a process died, killed or crashed over a file.
    """
    return _joined(list(in_processes(partial(_scanned, num_classes), pictures, hear)))


def _scanned(num_classes: int, pictures: Sequence[Path]) -> Scan:
    judged = [_picture(path) for path in pictures]
    labels = [_labels(label_path(path), num_classes) for path in pictures]
    boxes = [box[1:] for each in labels if each is not None for box in each.boxes]
    return Scan(
        shapes=np.array([(facts.width, facts.height) for facts, _, _ in judged], np.int32).reshape(-1, 2),
        num_bytes=np.array([num_bytes for _, num_bytes, _ in judged], np.int64),
        checksums=np.array([checksum for _, _, checksum in judged], np.uint32),
        has_labels=np.array([each is not None for each in labels], bool),
        num_boxes=np.array([len(each.boxes) if each else 0 for each in labels], np.int64),
        boxes=np.array(boxes, np.float32).reshape(-1, 5),
        picture_flaws=tuple((i, found) for i, (facts, _, _) in enumerate(judged) for found in facts.flaws),
        row_flaws=tuple((i, row) for i, each in enumerate(labels) if each for row in each.flaws),
    )


def _picture(path: Path) -> tuple[PictureFacts, int, int]:
    """What it shows, its size in bytes and the CRC-32 of its end."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a quarter of the time of Path.read_bytes
            facts = examine(file)
            num_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(num_bytes - _END_BYTES, 0))
            return facts, num_bytes, zlib.crc32(file.read())
    except OSError as error:
        flaw = FlawedPicture(PictureFlaw.UNREADABLE, error.strerror or type(error).__name__)
        return PictureFacts(width=0, height=0, flaws=(flaw,)), 0, 0


def _labels(path: Path, num_classes: int) -> Labels | None:
    """What the label file says; none where there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return read_labels(file.read(), num_classes)
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
        has_labels=np.concatenate([part.has_labels for part in parts]),
        num_boxes=np.concatenate([part.num_boxes for part in parts]),
        boxes=np.concatenate([part.boxes for part in parts]),
        picture_flaws=tuple(_renumbered(starts, [part.picture_flaws for part in parts])),
        row_flaws=tuple(_renumbered(starts, [part.row_flaws for part in parts])),
    )


def _renumbered(starts: Sequence[int], parts: Sequence[Sequence[tuple[int, Flaw]]]) -> Iterator[tuple[int, Flaw]]:
    """The flaws of all parts, with the number of the picture in the whole."""
    for start, flaws in zip(starts, parts, strict=False):
        yield from ((start + number, flaw) for number, flaw in flaws)
