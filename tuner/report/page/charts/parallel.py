"""Draw all trials on parallel axes."""

from collections.abc import Sequence
from typing import Any

from tuner.report.page.charts.style import DEFAULT, OTHER, PAGE, WINNER, Spec, Style, data, finished, tip
from tuner.report.page.records.slices import Parallel, ParallelLine
from tuner.report.page.records.subject import Role

_ROW_PX = 64


def parallel_chart(record: Parallel, style: Style = PAGE) -> Spec:
    """Draw one horizontal axis under the other, and a line across them for each trial.

    Horizontal axes leave room for names and values at any width.
    """
    import altair as alt

    last = len(record.axes) - 1
    x = _from_end_to_end("place:Q")
    y = alt.Y("axis:Q", axis=None, scale=alt.Scale(domain=[-0.35, last + 0.35], reverse=True, nice=False))
    value = alt.Tooltip("value:Q", title=record.metric, format=".4f")

    def drawn(lines: Sequence[ParallelLine]) -> alt.Chart:
        return (
            alt.Chart(data([_line(line) for line in lines]))
            .transform_flatten(["axis", "place"])
            .encode(x=x, y=y, detail="trial:Q", order="axis:Q", tooltip=[tip("trial", "Q"), tip("role", "N"), value])
        )

    others = [line for line in record.lines if line.role == Role.OTHER]
    rest, best = ([line for line in others if line.is_best == is_best] for is_best in (False, True))
    layers = _axis_lines(record, style, y)
    layers += [drawn(rest).mark_line(color=OTHER, opacity=0.14, strokeWidth=1)] if rest else []
    layers += (
        [drawn(best).mark_line(opacity=0.9, strokeWidth=1.6).encode(color=_ramp(record, best, style))] if best else []
    )
    for line in record.lines:
        if line.role != Role.OTHER:
            colour = WINNER if line.role == Role.WINNER else DEFAULT
            layers.append(
                drawn([line]).mark_line(
                    color=colour, strokeWidth=3.5, point=alt.OverlayMarkDef(filled=True, size=70, color=colour)
                )
            )
    layers += _axis_texts(record, style, y)
    return finished(alt.layer(*layers), style, height=_ROW_PX * len(record.axes))


def _ramp(record: Parallel, best: Sequence[ParallelLine], style: Style) -> Any:
    """Return the colours of the best lines by value."""
    import altair as alt

    values = [line.value for line in best if line.value is not None]
    legend = alt.Legend(
        title=f"{record.metric} of the best trials",
        direction="horizontal",
        gradientLength=220,
        gradientThickness=10,
        titleOrient="top",
        tickCount=3,
        format=".3f",
    )
    scale = alt.Scale(range=list(style.ramp), domain=[min(values), max(values)])
    return alt.Color("value:Q", scale=scale, legend=legend)


def _line(line: ParallelLine) -> dict[str, Any]:
    return {
        "trial": line.trial,
        "role": line.role.value,
        "value": None if line.value is None else float(f"{line.value:.5g}"),
        "axis": list(range(len(line.places))),
        "place": [None if place is None else round(place, 4) for place in line.places],
    }


def _axis_lines(record: Parallel, style: Style, y: Any) -> list[Any]:
    import altair as alt

    lines = [{"axis": i, "from": 0, "to": 1} for i, _ in enumerate(record.axes)]
    ticks = [{"axis": i, "place": tick.place} for i, axis in enumerate(record.axes) for tick in axis.ticks]
    base, marks = alt.Chart(data(lines)).encode(y=y), alt.Chart(data(ticks)).encode(y=y)
    return [
        base.mark_rule(color=style.quiet, strokeWidth=1).encode(x=_from_end_to_end("from:Q"), x2="to:Q"),
        marks.mark_tick(orient="vertical", size=8, thickness=1, color=style.quiet).encode(
            x=_from_end_to_end("place:Q")
        ),
    ]


def _axis_texts(record: Parallel, style: Style, y: Any) -> list[Any]:
    """Return names above the axes and values below them, each over an outline that sets it off from the lines."""
    import altair as alt

    names = [{"axis": i, "place": 0, "text": axis.label} for i, axis in enumerate(record.axes)]
    values = [
        {"axis": i, "place": tick.place, "text": tick.label, "align": _alignment(tick.place)}
        for i, axis in enumerate(record.axes)
        for tick in axis.ticks
    ]
    x, text = _from_end_to_end("place:Q"), "text:N"
    name = alt.Chart(data(names)).encode(x=x, y=y, text=text)
    value = alt.Chart(data(values)).encode(x=x, y=y, text=text)
    layers = []
    outlines: tuple[dict[str, Any], ...] = ({"stroke": style.paper, "strokeWidth": 4, "strokeOpacity": 0.85}, {})
    for outline in outlines:
        layers.append(name.mark_text(align="left", dy=-10, fontWeight="bold", color=style.ink, fontSize=12, **outline))
        align = {"expr": "datum.align"}
        layers.append(value.mark_text(align=align, dy=13, color=style.quiet, fontSize=11, **outline))
    return layers


def _from_end_to_end(field: str) -> Any:
    import altair as alt

    return alt.X(field, axis=None, scale=alt.Scale(domain=[0, 1], nice=False))


def _alignment(place: float) -> str:
    return "left" if place < 0.02 else "right" if place > 0.98 else "center"
