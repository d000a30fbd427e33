"""Layout of tables: aligned columns for the screen, or Markdown for a document."""

from collections.abc import Sequence

Cells = list[str]


def as_columns(headers: Cells, rows: Sequence[Cells]) -> str:
    """Format a table for the screen: the first column left-aligned, the others right-aligned."""
    widths = _widths(headers, rows)
    return "\n".join("  ".join(_aligned(cells, widths)).rstrip() for cells in (headers, *rows))


def as_markdown(headers: Cells, rows: Sequence[Cells]) -> str:
    """Format a table in Markdown."""
    widths = _widths(headers, rows)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(_aligned(cells, widths))} |" for cells in (headers, rule, *rows))


def _widths(headers: Cells, rows: Sequence[Cells]) -> list[int]:
    return [max(map(len, column)) for column in zip(headers, *rows, strict=True)]


def _aligned(cells: Cells, widths: Sequence[int]) -> list[str]:
    return [cells[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(cells[1:], widths[1:], strict=True))]
