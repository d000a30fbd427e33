"""Text on pictures: fonts that can write it, and text made to fit."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

_FOR_CHINESE = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf")
"""What Linux machines have for Chinese, Japanese and Korean, if anything; none of them comes with a Python package."""
_LONGEST = 500
"""Characters; no line on a picture is longer."""
_NO_CHARACTER = "\U0010ffff"


@lru_cache(maxsize=4096)
def font_for(text: str, size: int) -> Font | None:
    """The first font at hand that has every character of a text; None where there is none."""
    return next((font for font in _fonts(size) if _can_write(font, text)), None)


def usual_font(size: int) -> Font:
    """The font for text of our own."""
    return next(_fonts(size))


def on_one_line(text: str) -> str:
    """The beginning of a text, with all that is no visible character replaced: line breaks, marks of direction."""
    shown = text[:_LONGEST]
    return "".join(character if character.isprintable() else "\N{WHITE SQUARE}" for character in shown)


def fitted(text: str, font: Font, width: float) -> str:
    """As much of the beginning of a text as `width` pixels hold, with dots where something is missing."""
    if font.getlength(text) <= width:
        return text
    kept = bisect_right(range(1, len(text)), width, key=lambda end: font.getlength(f"{text[:end]}…"))
    return f"{text[:kept]}…"


def wrapped(parts: Sequence[str], font: Font, width: float, *, separator: str) -> Iterator[str]:
    """Lines of at most `width` pixels, broken between the parts only."""
    line = ""
    for part in parts:
        longer = f"{line}{separator}{part}" if line else part
        if line and font.getlength(longer) > width:
            yield line
            longer = part
        line = longer
    if line:
        yield line


def _fonts(size: int) -> Iterator[Font]:
    import matplotlib  # ultralytics needs it anyway; its DejaVu writes Latin, Cyrillic, Greek and Arabic

    yield _opened(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
    for name in _FOR_CHINESE:
        if name in _installed():
            yield _opened(name, size)


@cache
def _opened(file: str, size: int) -> Font:
    return ImageFont.truetype(file, size)


@cache
def _installed() -> frozenset[str]:
    return frozenset(name for name in _FOR_CHINESE if _can_be_opened(name))


def _can_be_opened(name: str) -> bool:
    try:
        _opened(name, 12)
    except OSError:
        return False
    return True


def _can_write(font: Font, text: str) -> bool:
    missing = _shape(font, _NO_CHARACTER)
    return all(character.isspace() or _shape(font, character) != missing for character in set(text))


def _shape(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
