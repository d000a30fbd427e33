"""One image with its boxes drawn on it, each in the colour of its class."""

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainer.data.drawing.text import fitted, font_for, on_one_line, usual_font

_LABEL = 11
"""Font size of the labels, in pixels."""
_LONGEST_LABEL = 96
_SMALLEST_LABELLED = 30
"""Longest side in pixels below which a box gets no label: it would hide the object. The colour shows the class too."""
_MOST_LABELLED = 200
_PAPER = (255, 255, 255)
_DARKEST = 110

Colour = tuple[int, int, int]
_Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Image and its boxes."""

    pixels: NDArray[np.uint8]
    """Pixels, (height, width, 3), red first."""
    boxes: NDArray[np.float64]
    """Boxes, (boxes, 4): left, top, right, bottom as fractions of width and height."""
    classes: tuple[int, ...]
    """Class of each box."""


def colour_of(class_id: int) -> Colour:
    """Return a colour bright enough for a dark background; neighbours are a golden section of the hue circle apart."""
    hue, value = class_id * 0.618034 % 1.0, (1.0, 0.8)[class_id // 8 % 2]
    red, green, blue = (255 * part for part in colorsys.hsv_to_rgb(hue, 0.85, value))
    white = max(0.0, (_DARKEST - _brightness((red, green, blue))) / 255)
    return tuple(round(part + white * (255 - part)) for part in (red, green, blue))  # type: ignore[return-value]


def label_of(class_id: int, names: Mapping[int, str]) -> str:
    """Return a class's name, or its number if no available font can write the name."""
    name = on_one_line(names.get(class_id, ""))
    return name if name.strip() and font_for(name, _LABEL) is not None else f"class {class_id}"


def drawn(cell: Cell, names: Mapping[int, str], side: int) -> Image.Image:
    """Draw a square of `side` pixels: the image in the middle, as large as fits, with its boxes on it."""
    image = Image.fromarray(cell.pixels)
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.resize(size, Image.Resampling.BICUBIC)
    corner = ((side - size[0]) // 2, (side - size[1]) // 2)
    square = Image.new("RGB", (side, side), _PAPER)
    square.paste(image, corner)
    boxes = [_on_square(box, size, corner) for box in cell.boxes]
    draw = ImageDraw.Draw(square)
    for box, class_id in zip(boxes, cell.classes, strict=True):
        _outline(draw, box, colour_of(class_id))
    _label_all(draw, boxes, cell.classes, names, side)
    return square


def _on_square(box: NDArray[np.float64], size: tuple[int, int], corner: tuple[int, int]) -> _Rectangle:
    left, top, right, bottom = (float(edge) for edge in box)
    x, y = corner
    return x + left * size[0], y + top * size[1], x + right * size[0] - 1, y + bottom * size[1] - 1


def _outline(draw: ImageDraw.ImageDraw, box: _Rectangle, colour: Colour) -> None:
    """Draw a line with a dark edge on both sides, so that it is visible on any background."""
    left, top, right, bottom = (round(edge) for edge in box)
    right, bottom = max(left, right), max(top, bottom)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=(0, 0, 0), width=1)
    draw.rectangle((left, top, right, bottom), outline=colour, width=2)


def _label_all(
    draw: ImageDraw.ImageDraw,
    boxes: Sequence[_Rectangle],
    classes: Sequence[int],
    names: Mapping[int, str],
    side: int,
) -> None:
    """Label the large boxes first; a box without free space gets no label, as the legend explains its colour."""
    labels: list[_Rectangle] = []
    centres = [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in boxes]
    by_area = sorted(range(len(boxes)), key=lambda i: -_area(boxes[i]))
    for i in by_area[:_MOST_LABELLED]:
        if max(boxes[i][2] - boxes[i][0], boxes[i][3] - boxes[i][1]) < _SMALLEST_LABELLED:
            continue
        label = label_of(classes[i], names)
        font = font_for(label, _LABEL) or usual_font(_LABEL)
        label = fitted(label, font, _LONGEST_LABEL)
        width = font.getlength(label) + 6
        places = _places(boxes[i], width, _LABEL + 4, side)
        place = next((place for place in places if not _hides(place, labels, centres)), None)
        if place is None:
            continue
        labels.append(place)
        colour = colour_of(classes[i])
        draw.rectangle(place, fill=colour)
        draw.text((place[0] + 3, place[1] + 1), label, fill=readable_on(colour), font=font)


def _places(box: _Rectangle, width: float, height: float, side: int) -> Iterator[_Rectangle]:
    """Yield the label places inside the square: above the box, below it, and within it at the top."""
    left = min(max(box[0], 0.0), side - width)
    for top in (box[1] - height, box[3] + 1, box[1] + 2):
        if top >= 0 and top + height <= side:
            yield left, top, left + width, top + height


def _hides(place: _Rectangle, labels: Sequence[_Rectangle], centres: Sequence[tuple[float, float]]) -> bool:
    """Check whether a label there would hide another label or the middle of an object."""
    left, top, right, bottom = place
    if any(left <= x <= right and top <= y <= bottom for x, y in centres):
        return True
    return any(_meet(place, label) for label in labels)


def _meet(a: _Rectangle, b: _Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _area(box: _Rectangle) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def readable_on(colour: Colour) -> Colour:
    """Return black or white, whichever is readable on this colour."""
    return (0, 0, 0) if _brightness(colour) > 120 else (255, 255, 255)


def _brightness(colour: tuple[float, float, float]) -> float:
    """Return the perceived brightness, 0..255."""
    red, green, blue = colour
    return 0.299 * red + 0.587 * green + 0.114 * blue
