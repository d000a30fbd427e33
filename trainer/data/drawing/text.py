"""Text on images: fonts that can write it, and text shortened to fit."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

_FOR_CHINESE = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf")
"""Fonts for Chinese, Japanese and Korean that Linux machines may have; no Python package includes one."""
_LONGEST = 500
"""Maximum characters of a line on an image."""
_NO_CHARACTER = "\U0010ffff"


@lru_cache(maxsize=4096)
def font_for(text: str, size: int) -> Font | None:
    """Return the first available font that has every character of a text, or None."""
    return next((font for font in _fonts(size) if _can_write(font, text)), None)


def usual_font(size: int) -> Font:
    """Return the font for the text of the sheet itself."""
    return next(_fonts(size))


def on_one_line(text: str) -> str:
    """Return the start of a text with every invisible character replaced: line breaks, direction marks."""
    shown = text[:_LONGEST]
    return "".join(character if character.isprintable() else "\N{WHITE SQUARE}" for character in shown)


def fitted(text: str, font: Font, width: float) -> str:
    """Shorten a text to `width` pixels, with dots in place of the omitted part."""
    if font.getlength(text) <= width:
        return text
    kept = bisect_right(range(1, len(text)), width, key=lambda end: font.getlength(f"{text[:end]}…"))
    return f"{text[:kept]}…"


def wrapped(parts: Sequence[str], font: Font, width: float, *, separator: str) -> Iterator[str]:
    """Yield lines of at most `width` pixels, broken between the parts only."""
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
    import matplotlib  # ultralytics needs it anyway; its DejaVu font covers Latin, Cyrillic, Greek and Arabic

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
