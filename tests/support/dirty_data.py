"""A data set with every flaw that real ones have, each at a known place."""

import io
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NAMES = ("cat", "dog", "bird", "fish", "cow")
"""bird has no box at all, fish is only in val, cow only in train."""

Found = dict[str, set[tuple[str, str, int]]]


@dataclass
class Dirty:
    """The data set being made, and what must be found in it."""

    root: Path
    planted: Found = field(default_factory=lambda: defaultdict(set))
    """By kind: split, path from the root, line."""
    _seed: int = 0

    def pixels(self, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
        """Draw a unique image: a few coarse blobs and some noise."""
        self._seed += 1
        rng = np.random.default_rng(self._seed)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        noisy: NDArray[np.int64] = np.asarray(coarse, np.int16) + rng.integers(-9, 10, (height, width, 3))
        return np.clip(noisy, 0, 255).astype(np.uint8)

    def jpeg(
        self, pixels: NDArray[np.uint8] | None = None, *, quality: int = 90, orientation: int | None = None
    ) -> bytes:
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        return saved(Image.fromarray(self.pixels() if pixels is None else pixels), quality=quality, exif=exif)

    def put(self, split: str, name: str, content: bytes, rows: str | bytes | None = "0 0.5 0.5 0.25 0.25\n") -> None:
        """Write an image and, unless rows is None, its labels."""
        image = self.root / "images" / split / name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(content)
        if rows is not None:
            labels = self.root / "labels" / split / Path(name).with_suffix(".txt")
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_bytes(rows.encode() if isinstance(rows, str) else rows)

    def plant(self, kind: str, split: str, path: str, line: int = 0) -> None:
        self.planted[kind].add((split, path, line))


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make(root: Path) -> Dirty:
    """Make the data set in a folder that does not exist yet."""
    dirty = Dirty(root)
    root.mkdir()
    for number in range(30):
        dirty.put("train", f"good{number:02}.jpg", dirty.jpeg(), f"{number % 2} 0.5 0.5 0.3 0.4\n4 0.2 0.2 0.1 0.1\n")
    for number in range(12):
        dirty.put("val", f"good{number:02}.jpg", dirty.jpeg(), f"{number % 2} 0.5 0.5 0.3 0.4\n3 0.2 0.2 0.1 0.1\n")
    dirty.put("test", "good.jpg", dirty.jpeg(), "1 0.5 0.5 0.3 0.4\n")
    for plant in (_images, _rows, _backgrounds, _twins, _legal):
        plant(dirty)
    (root / "dataset.yaml").write_text(
        f"path: .\ntrain: images\\train\nval: images\\val\ntest: images\\test\nnames: [{', '.join(NAMES)}]\n"
    )
    for kind in ("class-without-boxes", "class-not-in-train", "class-not-in-val"):
        dirty.plant(kind, "", "dataset.yaml")
    dirty.plant("noisy-validation", "val", "dataset.yaml")
    return dirty


def _images(dirty: Dirty) -> None:
    whole = dirty.jpeg()
    for kind, name, content in (
        ("unreadable-image", "empty.jpg", b""),
        ("unreadable-image", "page.jpg", b"<html>404</html>"),
        ("unreadable-image", "half.png", saved(Image.fromarray(dirty.pixels()), "PNG")[:1500]),
        ("truncated-image", "half.jpg", whole[: len(whole) // 2]),
        ("tiny-image", "tiny.jpg", dirty.jpeg(dirty.pixels(40, 9))),
        ("image-format", "gif.jpg", saved(Image.fromarray(dirty.pixels()), "GIF")),
        ("trailing-bytes", "trailing.jpg", dirty.jpeg() + b"\0" * 20),
        ("rotated-image", "turned.jpg", dirty.jpeg(orientation=6)),
        ("bad-orientation", "odd.jpg", dirty.jpeg(orientation=12)),
        ("grey-image", "grey.jpg", saved(Image.fromarray(dirty.pixels()).convert("L"))),
    ):
        dirty.put("train", name, content)
        dirty.plant(kind, "train", f"images/train/{name}")
    for kind, content in _others(dirty):
        dirty.put("test", f"{kind}.jpg", content)
        dirty.plant(kind, "test", f"images/test/{kind}.jpg")


def _others(dirty: Dirty) -> Iterator[tuple[str, bytes]]:
    """Other images with the same flaws: copies would be another flaw."""
    whole = dirty.jpeg()
    yield "unreadable-image", b"<html>404</html>"
    yield "truncated-image", whole[: 2 * len(whole) // 3]
    yield "tiny-image", dirty.jpeg(dirty.pixels(9, 40))
    yield "trailing-bytes", dirty.jpeg() + b"more"
    yield "rotated-image", dirty.jpeg(orientation=3)
    yield "bad-orientation", dirty.jpeg(orientation=0)
    yield "grey-image", saved(Image.fromarray(dirty.pixels()).convert("L"))


def _rows(dirty: Dirty) -> None:
    good = "0 0.5 0.5 0.25 0.25\n"
    for kind, name, rows, line in (
        ("class-id", "class", f"{good}7 0.5 0.5 0.2 0.2\n", 2),
        ("class-id", "half-class", f"{good}\n0.5 0.5 0.5 0.2 0.2\n", 3),
        ("class-id", "minus-class", "-1 0.5 0.5 0.2 0.2\n", 1),
        ("label-pixels", "pixels", f"{good}{good}0 48 32 10 10\n", 3),
        ("label-range", "minus", "0 -0.2 0.5 0.2 0.2\n", 1),
        ("label-number", "nan", f"{good}0 nan 0.5 0.2 0.2\n", 2),
        ("label-number", "inf", "0 0.5 inf 0.2 0.2\n", 1),
        ("label-class-name", "text", "cat 0.5 0.5 0.2 0.2\n", 1),
        ("label-columns", "four", f"{good}0 0.5 0.5 0.2\n", 2),
        ("label-columns", "commas", "0,0.5,0.5,0.2,0.2\n", 1),
        ("label-sixth-column", "scored", "0 0.5 0.5 0.2 0.2 0.99\n", 1),
        ("mixed-labels", "mixed", f"{good}0 0.1 0.1 0.2 0.1 0.2 0.2\n", 0),
        ("label-encoding", "utf16", "0 0.5 0.5 0.2 0.2\n".encode("utf-16"), 1),
        ("zero-size-box", "flat", f"{good}1 0.5 0.5 0 0.2\n", 2),
        ("box-beyond-border", "beyond", f"{good}1 0.95 0.5 0.4 0.2\n", 2),
        ("duplicate-row", "twice", f"{good}1 0.2 0.2 0.1 0.1\n{good}", 3),
        ("near-duplicate-box", "nearly", f"{good}0 0.505 0.5 0.25 0.25\n", 2),
    ):
        dirty.put("train", f"{name}.jpg", dirty.jpeg(), rows)
        dirty.plant(kind, "train", f"labels/train/{name}.txt", line)
    dirty.plant("duplicate-row", "train", "labels/train/pixels.txt", 2)


def _backgrounds(dirty: Dirty) -> None:
    dirty.put("train", "unlabelled.jpg", dirty.jpeg(), None)
    dirty.plant("missing-labels", "train", "images/train/unlabelled.jpg")
    for name in ("shared.jpg", "shared.png"):
        dirty.put("train", name, saved(Image.fromarray(dirty.pixels()), "PNG"))
    dirty.plant("shared-labels", "train", "images/train/shared.png")
    for name, rows in (("nothing", ""), ("blank", "\n \n")):
        dirty.put("val", f"{name}.jpg", dirty.jpeg(), rows)
        dirty.plant("empty-labels", "val", f"images/val/{name}.jpg")
    for path in ("labels/train/lost.txt", "labels/val/below/lost.txt"):
        (dirty.root / path).parent.mkdir(exist_ok=True)
        (dirty.root / path).write_text("0 0.5 0.5 0.25 0.25\n")
        dirty.plant("orphan-labels", path.split("/")[1], path)


def _twins(dirty: Dirty) -> None:
    content = dirty.jpeg()
    dirty.put("train", "a-copied.jpg", content)
    dirty.put("train", "b-copy.jpg", content)
    dirty.put("val", "copy.jpg", content)
    dirty.plant("duplicate-image", "train", "images/train/b-copy.jpg")
    dirty.plant("leaked-image", "val", "images/val/copy.jpg")
    pixels = dirty.pixels()
    image = Image.fromarray(pixels)
    dirty.put("train", "a-source.jpg", dirty.jpeg(pixels))
    for split, name, other in (
        ("train", "z-worse.jpg", dirty.jpeg(pixels, quality=40)),
        ("val", "half.jpg", saved(image.resize((48, 32)))),
        ("val", "mirrored.jpg", saved(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))),
        ("val", "brighter.png", saved(Image.fromarray((pixels * 0.8 + 51).astype(np.uint8)), "PNG")),
        ("test", "cropped.jpg", saved(image.crop((1, 1, 95, 63)))),
    ):
        dirty.put(split, name, other)
        kind = "near-duplicate-image" if split == "train" else "near-leaked-image"
        dirty.plant(kind, split, f"images/{split}/{name}")


def _legal(dirty: Dirty) -> None:
    """Write images and labels that look odd but are correct."""
    dirty.put("train", "UPPER.JPG", dirty.jpeg())
    dirty.put("train", "crlf.jpg", dirty.jpeg(), "0 0.5 0.5 0.25 0.25\r\n1 0.2 0.2 0.1 0.1\r\n")
    dirty.put("train", "outline.jpg", dirty.jpeg(), "0 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n")
    dirty.plant("outline-labels", "train", "labels/train/outline.txt")
    dirty.put("train", "rounded.jpg", dirty.jpeg(), "0 0.5 0.5 1.005 1\n")
    dirty.put("train", "snow-\u96ea.jpg", dirty.jpeg())
    dirty.put("train", ".hidden.jpg", b"no image")
    outside = dirty.root.parent / "elsewhere"
    outside.mkdir()
    (outside / "linked.jpg").write_bytes(dirty.jpeg())
    (dirty.root / "images/train/linked.jpg").symlink_to(outside / "linked.jpg")
    (dirty.root / "labels/train/linked.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (dirty.root / "labels/train/classes.txt").write_text("\n".join(NAMES))
    (dirty.root / "annotations.json").write_text("{}")
    (dirty.root / "images/train/notes.xml").write_text("<annotation/>")
