"""Table of many rows for a terminal, laid out in a time that is linear in their number.

Rich measures and wraps every cell of its tables several times, which takes milliseconds for each row.
"""

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

_GAP = "  "
_LEAST_WIDTH = 20
"""Minimum width of the last column, in cells. Where less is left, its cells follow below the second column."""


class LongTable:
    """Table whose last column takes the rest of the width and wraps; the others are as wide as their widest cell."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: frozenset[str]) -> None:
        """Create a table of printable cells.

        Args:
            header: Names of the columns.
            rows: Cells of each row.
            right: Names of the columns that are aligned to the right.
        """
        self._header = header
        self._rows = rows
        self._right = [name in right for name in header[:-1]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the lines of the table."""
        table = (self._header, *self._rows)
        widths = [max(map(cell_len, column)) for column in list(zip(*table, strict=True))[:-1]]
        indent = sum(widths) + len(_GAP) * len(widths)
        is_narrow = options.max_width - indent < _LEAST_WIDTH
        if is_narrow:
            indent = widths[0] + len(_GAP)
        width = max(options.max_width - indent, 1)
        for row in table:
            cells = [
                _padded(cell, column, right=right)
                for cell, column, right in zip(row[:-1], widths, self._right, strict=True)
            ]
            lines = _wrapped(row[-1], width, console)
            if not is_narrow:
                cells.append(lines.pop(0) if lines else "")
            style = Style(bold=True) if row is self._header else None
            for line in (_GAP.join(cells).rstrip(), *(" " * indent + line for line in lines)):
                yield Segment(f"{line}\n", style)  # a line each: Rich takes quadratic time for a long segment


def _wrapped(text: str, width: int, console: Console) -> list[str]:
    if len(text) <= width and text.isascii():
        return [text] if text else []
    if text.isascii():
        return _wrapped_words(text, width)
    return [line.plain.rstrip() for line in Text(text).wrap(console, width)]


def _wrapped_words(text: str, width: int) -> list[str]:
    """Wrap ASCII text between its words; much faster than `textwrap`, which breaks the words that are too long."""
    lines: list[str] = []
    room = 0
    for word in text.split():
        if len(word) > width:
            return textwrap.wrap(text, width, break_on_hyphens=False)
        if len(word) < room:
            lines[-1] += f" {word}"
            room -= len(word) + 1
        else:
            lines.append(word)
            room = width - len(word)
    return lines


def _padded(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - cell_len(cell))
    return space + cell if right else cell + space
