"""Show a comparison of studies in a terminal, also a narrow one: short keys instead of names head the columns."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tuner.report.compare.comparison import Comparison, Row
from tuner.report.compare.text import (
    FINAL_RUN_HEADER,
    VERDICT_HEADER,
    VERDICT_NOTE,
    cost_header,
    cost_note,
    cost_rows,
    final_run_cells,
    final_run_metrics,
    metric_names,
    statements,
    value_cell,
    verdict_cells,
    winners_note,
)
from tuner.system.printable import printable

_MANY = 6
"""Number of studies from which values stand below each other: columns would be too narrow to read."""


def comparison_text(comparison: Comparison) -> list[RenderableType]:
    """Return the comparison for a terminal."""
    studies, keys = comparison.studies, _keys(comparison)
    metrics = final_run_metrics(studies)
    warnings = [Text(printable(f"Do not compare values: {line}"), style="bold red") for line in comparison.obstacles]
    return [
        _list(comparison),
        *([Text(), *warnings] if warnings else []),
        *_rows("Settings that differ", keys, comparison.settings, "No setting differs."),
        *_heading(f"Results: {metric_names(comparison)}"),
        Text(VERDICT_NOTE),
        _by_study(VERDICT_HEADER, keys, [verdict_cells(study) for study in studies], texts={5, 7}),
        *(Text(printable(f"{label}: {text}")) for label, text in statements(comparison)),
        *_heading("Training time"),
        Text(cost_note(comparison)),
        _by_study(cost_header(comparison), keys, cost_rows(comparison), texts={0}),
        *_winners(comparison, keys),
        *_heading("Final runs"),
        _by_study(
            (*FINAL_RUN_HEADER, *metrics), keys, [final_run_cells(s.final_run, metrics) for s in studies], texts={2}
        ),
        *([Text()] if comparison.cautions else []),
        *(Text(printable(f"Note: {line}")) for line in comparison.cautions),
    ]


def _keys(comparison: Comparison) -> list[str]:
    return [f"S{number}" for number, _ in enumerate(comparison.studies, start=1)]


def _list(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(no_wrap=True)
    for key, study in zip(_keys(comparison), comparison.studies, strict=True):
        table.add_row(key, Text(printable(study.label)), study.state)
    return table


def _heading(text: str) -> tuple[Text, Text]:
    return Text(), Text(printable(text), style="bold")


def _by_study(header: Sequence[str], keys: Sequence[str], rows: Sequence[Sequence[str]], texts: set[int]) -> Table:
    """Return a table with one row for each study; columns other than `texts` hold numbers."""
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index in texts else "right", overflow="fold")
    for key, row in zip(keys, rows, strict=True):
        table.add_row(key, *(Text(printable(cell)) for cell in row))
    return table


def _winners(comparison: Comparison, keys: Sequence[str]) -> Iterator[RenderableType]:
    yield from _rows(
        f"Parameters of the winners: {winners_note(comparison)}",
        keys,
        [row for row in comparison.params if row.differs],
        "",
    )
    same = [f"{row.name} {value_cell(row.values[0])}" for row in comparison.params if not row.differs]
    if same:
        yield Text(printable(f"the same: {', '.join(same)}"))


def _rows(heading: str, keys: Sequence[str], rows: Sequence[Row], otherwise: str) -> Iterator[RenderableType]:
    """Yield a heading and a table with one row for each setting, or `otherwise` without rows."""
    yield from _heading(heading)
    if not rows:
        if otherwise:
            yield Text(otherwise)
        return
    yield _stacked(keys, rows) if len(keys) >= _MANY else _columns(keys, rows)


def _columns(keys: Sequence[str], rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("", *keys):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(Text(printable(row.name)), *(Text(printable(value_cell(value))) for value in row.values))
    return table


def _stacked(keys: Sequence[str], rows: Sequence[Row]) -> Table:
    """Return one line for each value of a setting, with the studies that have it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for row in rows:
        having: dict[str, list[str]] = {}
        for key, value in zip(keys, row.values, strict=True):
            having.setdefault(value_cell(value), []).append(key)
        for index, (value, those) in enumerate(having.items()):
            table.add_row(Text(printable("" if index else row.name)), Text(printable(value)), ", ".join(those))
    return table
