"""Contact sheets: a grid of images with their boxes under a heading, as one image."""

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from PIL import Image, ImageDraw

from trainer.data.drawing import boxes
from trainer.data.drawing.boxes import Cell, Colour, colour_of, label_of, readable_on
from trainer.data.drawing.text import Font, fitted, font_for, on_one_line, usual_font, wrapped

_WIDTH = 1960
"""Preferred width of the grid in pixels: about a screen."""
_SMALLEST, _LARGEST = 320, 640
"""Limits of the side of an image, in pixels."""
_MARGIN, _GAP = 16, 8
_TITLE, _TEXT, _CAPTION = 24, 15, 13
"""Font sizes in pixels."""
_CAPTION_HEIGHT = _CAPTION + 8
_PAPER, _INK, _PALE, _WARNING = (255, 255, 255), (20, 20, 20), (110, 110, 110), (176, 58, 0)
_MOST_CLASSES = 40
"""Maximum number of classes in the legend: those with the most boxes."""
_LONGEST_NAME = 160
_QUALITY = 92


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    caption: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """Contents of one sheet."""

    title: str
    facts: tuple[str, ...]
    """Short texts below the title, next to each other."""
    left_out: str
    """Pale text below the facts."""
    notes: tuple[str, ...]
    """Warnings, each on its own line."""
    columns: tuple[str, ...]
    """Headings, one for each cell of a row."""
    rows: tuple[Row, ...]
    names: Mapping[int, str]
    """Names of the classes."""


def jpeg(sheet: Sheet) -> bytes:
    """Encode the sheet as a JPEG file; the same sheet gives the same bytes."""
    content = io.BytesIO()
    drawn(sheet).save(content, "JPEG", quality=_QUALITY, subsampling=0)  # colours as sharp as the lines
    return content.getvalue()


def drawn(sheet: Sheet) -> Image.Image:
    """Draw the sheet as an image."""
    side = min(max((_WIDTH + _GAP) // len(sheet.columns) - _GAP, _SMALLEST), _LARGEST)
    width = len(sheet.columns) * (side + _GAP) - _GAP
    heading = [*_heading(sheet, width), *_legend(sheet, width)]
    grid_height = _CAPTION_HEIGHT + len(sheet.rows) * (_CAPTION_HEIGHT + side + _GAP)
    height = sum(strip.height for strip in heading) + _GAP + grid_height
    page = Image.new("RGB", (width + 2 * _MARGIN, height + 2 * _MARGIN), _PAPER)
    y = _MARGIN
    for strip in heading:
        page.paste(strip, (_MARGIN, y))
        y += strip.height
    _draw_grid(page, sheet, y + _GAP, side)
    return page


def _draw_grid(page: Image.Image, sheet: Sheet, top: int, side: int) -> None:
    lefts = [_MARGIN + place * (side + _GAP) for place in range(len(sheet.columns))]
    for left, text in zip(lefts, sheet.columns, strict=True):
        page.paste(_line(text, _CAPTION, _INK, side), (left, top))
    for number, row in enumerate(sheet.rows):
        y = top + _CAPTION_HEIGHT + number * (_CAPTION_HEIGHT + side + _GAP)
        page.paste(_line(row.caption, _CAPTION, _PALE, page.width - 2 * _MARGIN), (_MARGIN, y))
        for left, cell in zip(lefts, row.cells, strict=True):
            page.paste(boxes.drawn(cell, sheet.names, side), (left, y + _CAPTION_HEIGHT))


def _heading(sheet: Sheet, width: int) -> Iterator[Image.Image]:
    """Yield a strip for each line."""
    yield _line(sheet.title, _TITLE, _INK, width)
    font = usual_font(_TEXT)
    for line in wrapped(sheet.facts, font, width, separator="   "):
        yield _line(line, _TEXT, _INK, width)
    for text, colour in [(sheet.left_out, _PALE), *((note, _WARNING) for note in sheet.notes)]:
        for line in wrapped(text.split(), font, width, separator=" "):
            yield _line(line, _TEXT, colour, width)


def _line(text: str, size: int, colour: Colour, width: int) -> Image.Image:
    """Draw a strip of paper with one line of text, shortened if it is too long."""
    text = on_one_line(text)
    font = _font(text, size)
    strip = Image.new("RGB", (width, round(1.4 * size)), _PAPER)
    ImageDraw.Draw(strip).text((0, 1), fitted(text, font, width), fill=colour, font=font)
    return strip


def _legend(sheet: Sheet, width: int) -> Iterator[Image.Image]:
    """Yield strips with the names of the classes on the sheet, each on its colour."""
    found = Counter(class_id for row in sheet.rows for cell in row.cells for class_id in cell.classes)
    shown = sorted(class_id for class_id, _ in found.most_common(_MOST_CLASSES))
    strip, x = Image.new("RGB", (width, _CAPTION_HEIGHT + 2), _PAPER), 0
    for class_id in shown:
        chip = _chip(class_id, sheet.names)
        if x and x + chip.width > width:
            yield strip
            strip, x = Image.new("RGB", strip.size, _PAPER), 0
        strip.paste(chip, (x, 1))
        x += chip.width + _GAP
    if len(found) > len(shown):
        rest = f"and {len(found) - len(shown)} more"
        if x + _LONGEST_NAME > width:
            yield strip
            strip, x = Image.new("RGB", strip.size, _PAPER), 0
        strip.paste(_line(rest, _CAPTION, _PALE, _LONGEST_NAME), (x, 2))
    if shown:
        yield strip


def _chip(class_id: int, names: Mapping[int, str]) -> Image.Image:
    text = label_of(class_id, names)
    font = _font(text, _CAPTION)
    text = fitted(text, font, _LONGEST_NAME)
    colour = colour_of(class_id)
    chip = Image.new("RGB", (round(font.getlength(text)) + 10, _CAPTION_HEIGHT - 2), colour)
    ImageDraw.Draw(chip).text((5, 1), text, fill=readable_on(colour), font=font)
    return chip


def _font(text: str, size: int) -> Font:
    return font_for(text, size) or usual_font(size)
