"""Give all charts the same look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tuner.report.page.records.subject import Role

if TYPE_CHECKING:
    import altair as alt

Width = int | Literal["container"]

Spec = dict[str, Any]
"""Chart in the language of Vega-Lite, as JSON values."""

WINNER, DEFAULT, OTHER, ACCENT = "#2f7fe0", "#d9730d", "#8a94a3", "#3f8f5b"
FAILED, CUT_OFF, PAUSED = "#c9414f", "#8e63c0", "#3f9aa8"
"""Colours that can be told apart, also by colour-blind readers, on a light and on a dark background."""


@dataclass(frozen=True, slots=True)
class Style:
    """Colours of text and lines, and the width of a chart."""

    width: Width = "container"
    ink: str = "var(--ink)"
    quiet: str = "var(--quiet)"
    line: str = "var(--line)"
    """Colours of the page by default: the style sheet changes them in dark mode and in print."""
    background: str = "transparent"
    paper: str = "var(--page)"
    """Colour behind the chart, for outlines that separate marks."""
    ramp: tuple[str, str, str] = ("#7b5fc7", "#3f9aa8", "#e0a100")
    """Colours of low, middle and high values, readable on light and dark."""


PAGE = Style()
IMAGE = Style(width=760, ink="#1b1f24", quiet="#5a6472", line="#dfe3e8", background="white", paper="white")
"""Style of charts that are files of their own."""


def finished(chart: Any, style: Style, *, height: int) -> Spec:
    """Return the specification of a chart, with its size and the colours of text and lines."""
    axis = {
        "labelColor": style.quiet,
        "titleColor": style.quiet,
        "gridColor": style.line,
        "domainColor": style.line,
        "tickColor": style.line,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    legend = {"orient": "top", "labelColor": style.ink, "titleColor": style.quiet, "labelFontSize": 12, "columns": 3}
    sized = chart.properties(width=style.width, height=height, background=style.background)
    finished: Spec = sized.configure(
        font="system-ui, sans-serif",
        autosize={"type": "fit-x", "contains": "padding"},
        view={"stroke": None},
        axis=axis,
        # Fewer ticks than Vega's own, which are too many on a wide screen.
        axisX={"tickCount": {"expr": "ceil(width / 90)"}},
        legend=legend,
    ).to_dict(validate=False)  # a test does; in each run it would take 0.2 s
    return finished


def key() -> "alt.Legend":
    """Return a legend above the chart whose symbols have the full colour of the marks."""
    import altair as alt

    return alt.Legend(symbolOpacity=1, symbolStrokeWidth=3)


def roomy(values: Sequence[float], *, below: float = 0.12, above: float = 0.08) -> "alt.Scale":
    """Return a scale for these values with room below and above for names, as shares of their range."""
    import altair as alt

    low, high = min(values), max(values)
    spread = high - low or abs(high) or 1.0
    return alt.Scale(domain=[low - below * spread, high + above * spread], nice=False)


def role_colours(*, legend: bool = True) -> "alt.Color":
    """Return the colours of winner, default and other trials."""
    import altair as alt

    scale = alt.Scale(domain=[role.value for role in Role], range=[WINNER, DEFAULT, OTHER])
    return alt.Color("role:N", scale=scale, title=None, legend=key() if legend else None)


def data(rows: Sequence[Mapping[str, Any]]) -> "alt.InlineData":
    """Put rows into the specification of a chart."""
    import altair as alt

    return alt.InlineData(values=list(rows))


def tip(field: str, kind: str, form: str = "") -> "alt.Tooltip":
    """Show a column in the tooltip."""
    import altair as alt

    tip = alt.Tooltip(f"{field}:{kind}")
    return tip.format(form) if form else tip


def rounded(values: tuple[float, ...]) -> list[float]:
    """Return the values with six significant digits, which keeps the page small."""
    return [float(f"{value:.6g}") if math.isfinite(value) else value for value in values]
