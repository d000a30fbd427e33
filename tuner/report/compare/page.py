"""Collect the page of a comparison."""

from collections.abc import Iterator, Sequence

from tuner.comparison.contest import Conclusion
from tuner.report.compare.chart import best_values_chart
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
from tuner.report.page.content import Chart, Details, Item, Page, Paragraph, Section, Table


def comparison_page(comparison: Comparison) -> Page:
    """Collect the page; studies whose values must not be compared get no common chart."""
    return Page(
        title=f"Comparison of {len(comparison.studies)} studies",
        headline=_headline(comparison),
        lead=" ".join(comparison.obstacles),
        sections=(
            *_chart(comparison),
            _results(comparison),
            _settings(comparison),
            _costs(comparison),
            _winners(comparison),
            _final_runs(comparison),
            *_limits(comparison),
        ),
    )


def _headline(comparison: Comparison) -> str:
    if not comparison.comparable:
        return "Values of these studies must not be compared."
    shown = sum(study.result.conclusion == Conclusion.BETTER.value for study in comparison.studies)
    return f"{shown} of {len(comparison.studies)} studies have shown a gain over their own default configuration."


def _chart(comparison: Comparison) -> Iterator[Section]:
    drawn = [study for study in comparison.studies if study.best_over_cost is not None]
    if not drawn or not comparison.comparable:
        return
    chart = Chart(
        name="best-over-cost",
        draw=lambda style: best_values_chart(comparison.studies, style),
        description="Best value of each search so far over its training time",
    )
    note = "The line is the best value of a search so far, on one seed; each point is an improvement."
    yield Section(title="Best value over cost", note=note, items=(chart,))


def _results(comparison: Comparison) -> Section:
    rows = [(study.label, study.state, *verdict_cells(study)) for study in comparison.studies]
    header = ("study", "state", *VERDICT_HEADER)
    table = Table(header=header, rows=tuple(rows), numbers=frozenset({2, 3, 4, 5, 6, 8}))
    said = [Paragraph(text=f"{label}: {text}") for label, text in statements(comparison)]
    return Section(title=f"Results: {metric_names(comparison)}", note=VERDICT_NOTE, items=(table, *said))


def _settings(comparison: Comparison) -> Section:
    if not comparison.settings:
        return Section(title="No setting differs", note="", items=())
    return Section(title="Settings that differ", note="", items=(_table(comparison, comparison.settings),))


def _costs(comparison: Comparison) -> Section:
    rows = tuple((s.label, *cells) for s, cells in zip(comparison.studies, cost_rows(comparison), strict=True))
    table = Table(header=("study", *cost_header(comparison)), rows=rows, numbers=frozenset({2, 3, 4, 5, 6}))
    return Section(title="Training time", note=cost_note(comparison), items=(table,))


def _winners(comparison: Comparison) -> Section:
    differ = [row for row in comparison.params if row.differs]
    same = [row for row in comparison.params if not row.differs]
    items: list[Item] = [_table(comparison, differ)] if differ else []
    if same:
        items.append(Details(summary=f"{len(same)} parameters are the same", items=(_table(comparison, same),)))
    return Section(title="Parameters of the winners", note=winners_note(comparison), items=tuple(items))


def _final_runs(comparison: Comparison) -> Section:
    metrics = final_run_metrics(comparison.studies)
    header = ("study", *FINAL_RUN_HEADER, *metrics)
    rows = tuple((study.label, *final_run_cells(study.final_run, metrics)) for study in comparison.studies)
    numbers = frozenset({1, 2, *range(4, len(header))})
    return Section(title="Final runs", note="", items=(Table(header=header, rows=rows, numbers=numbers),))


def _limits(comparison: Comparison) -> Iterator[Section]:
    notes = tuple(Paragraph(text=line) for line in comparison.cautions)
    if notes:
        yield Section(title="Limits of this comparison", note="", items=notes)


def _table(comparison: Comparison, rows: Sequence[Row]) -> Table:
    header = ("", *(study.label for study in comparison.studies))
    return Table(header=header, rows=tuple((row.name, *map(value_cell, row.values)) for row in rows))
