"""Draw thumbnails of the worst findings of a check, with their boxes, which a list of file names does not show."""

import base64
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from trainer.data.checking.labels import Box, read_labels
from trainer.data.dataset import DataSet, label_path
from tuner.contract.data_report import Finding, Place, Sample

MAX_SAMPLES = 60
PER_FINDING = 6

_SIDE = 256  # longer side, in pixels
_GAP = 6
_QUALITY = 80
_GOOD, _FLAWED = "#39d353", "#ff2d2d"
_MAX_PIXELS = 100_000_000  # decoding takes three bytes per pixel


def worst_samples(dataset: DataSet, found: tuple[Finding, ...]) -> Iterator[Sample]:
    """Yield a few images of each finding, the worst findings first; skip images that cannot be opened.

    Flawed boxes are red and all others green. An image that repeats another one is shown next to it.
    """
    images = {str(label_path(p.path)): p.path for split in dataset.splits.values() for p in split.images}
    images |= {str(path): path for path in images.values()}
    left = MAX_SAMPLES
    for each in found:
        shown = 0
        for place in each.places:
            if shown == PER_FINDING or not left:
                break
            jpeg = _drawn(place, images, len(dataset.names))
            if jpeg is not None:
                yield Sample(kind=each.kind, split=each.split, place=place, jpeg=base64.b64encode(jpeg).decode())
                shown, left = shown + 1, left - 1


def _drawn(place: Place, images: Mapping[str, Path], num_classes: int) -> bytes | None:
    """Return the image of a place as a JPEG; None if the place has no image, or one that cannot be opened."""
    if place.file not in images:
        return None
    names = [place.file, *([place.other] if place.other in images else [])]
    try:
        small = [_small(images[name], place.line, num_classes) for name in names]
    except Exception:  # Pillow's readers raise any type of exception on broken files
        return None
    sheet = Image.new(
        "RGB",
        (sum(each.width for each in small) + _GAP * (len(small) - 1), max(each.height for each in small)),
        "white",
    )
    left = 0
    for each in small:
        sheet.paste(each, (left, 0))
        left += each.width + _GAP
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _small(path: Path, flawed_line: int, num_classes: int) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and size
        image = Image.open(io.BytesIO(path.read_bytes()))
        image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
        if image.width * image.height > _MAX_PIXELS:
            raise ValueError("The image is too large to decode for a thumbnail")
        small = ImageOps.exif_transpose(image).convert("RGB")
    scale = _SIDE / max(small.size)
    small = small.resize((max(1, round(small.width * scale)), max(1, round(small.height * scale))))
    labels = label_path(path)
    if labels.is_file():
        _draw(small, read_labels(labels.read_bytes(), num_classes).boxes, flawed_line)
    return small


def _draw(image: Image.Image, boxes: tuple[Box, ...], flawed_line: int) -> None:
    brush = ImageDraw.Draw(image)
    for box in sorted(boxes, key=lambda box: box.line == flawed_line):
        left, top = box.left * image.width, box.top * image.height
        right, bottom = left + box.width * image.width, top + box.height * image.height
        brush.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="black", width=4)
        brush.rectangle((left, top, right, bottom), outline=_FLAWED if box.line == flawed_line else _GOOD, width=2)
