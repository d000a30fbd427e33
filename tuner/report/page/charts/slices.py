"""Draw the values of parameters against the result."""

from collections.abc import Sequence
from typing import Any

from tuner.report.page.charts.style import DEFAULT, OTHER, PAGE, WINNER, Spec, Style, data, finished, tip
from tuner.report.page.records.parameters import shown
from tuner.report.page.records.slices import Parallel, ParallelLine, Slice, SlicePoint
from tuner.report.page.records.subject import Role

_ROW_PX = 56
_RIGHT = 0.6
"""Position on an axis from which on a label is to the left of its point."""


def slice_chart(record: Slice, style: Style = PAGE) -> Spec:
    """Draw the last value of each trial by one parameter; the winner and the default are named."""
    import altair as alt

    encoding = _slice_encoding(record)
    named = [point for point in record.points if point.role != Role.OTHER]
    others = [point for point in record.points if point.role == Role.OTHER]
    # A step on the way is drawn faintly: its value is lower because it trained less, not because of the parameter.
    layers = [
        alt.Chart(data([_row(point, record) for point in others if point.is_complete == is_complete]))
        .mark_point(size=size, filled=True, opacity=opacity, color=OTHER)
        .encode(**encoding)
        for is_complete, size, opacity in ((False, 16, 0.4), (True, 34, 1.0))
        if any(point.is_complete == is_complete for point in others)
    ]
    for point in named:
        base = alt.Chart(data([_row(point, record)])).encode(**encoding)
        is_left = record.axis.place(point.parameter) <= _RIGHT
        colour, dy = (WINNER, -8) if point.role == Role.WINNER else (DEFAULT, 10)
        layers += [
            base.mark_point(size=90, filled=True, opacity=1, stroke=style.paper, strokeWidth=1.5, color=colour),
            base.mark_text(
                align="left" if is_left else "right",
                dx=9 if is_left else -9,
                dy=dy,
                color=style.ink,
                fontSize=11,
                text=point.role.value,
            ),
        ]
    return finished(alt.layer(*layers), style, height=150)


def parallel_chart(record: Parallel, style: Style = PAGE) -> Spec:
    """Draw one horizontal axis under the other, and a line across them for each trial.

    Horizontal axes leave room for names and values at any width.
    """
    import altair as alt

    last = len(record.axes) - 1
    x = alt.X("place:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False))
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
    layers = _axes(record, style, y)
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
    return finished(alt.layer(*layers), style, height=_ROW_PX * len(record.axes))


def _slice_encoding(record: Slice) -> dict[str, Any]:
    import altair as alt

    axis = record.axis
    tips = [tip("trial", "Q"), tip("role", "N"), alt.Tooltip("parameter", title=axis.label, type="nominal"),
            alt.Tooltip("value:Q", title=record.metric, format=".4f"), tip("ran", "N")]  # fmt: skip
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False, padding=8), axis=alt.Axis(tickCount=4))
    if axis.choices:
        choices = [shown(choice) for choice in axis.choices]
        scale = alt.Scale(domain=choices)
        return {
            "x": alt.X("parameter:N", title=None, sort=choices, scale=scale, axis=alt.Axis(labelAngle=0)),
            "xOffset": alt.XOffset("spread:Q", scale=alt.Scale(domain=[-1, 1])),
            "y": y,
            "tooltip": tips,
        }
    scale = alt.Scale(type="log" if axis.is_log else "linear", domain=[axis.low, axis.high], nice=False)
    ticks = alt.Axis(format="~g" if abs(axis.high) < 1e4 else "~s", tickCount=4, labelOverlap=True, labelFlush=True)
    title = "log scale" if axis.is_log else None
    return {"x": alt.X("parameter:Q", title=title, scale=scale, axis=ticks), "y": y, "tooltip": tips}


def _ramp(record: Parallel, best: Sequence[ParallelLine], style: Style) -> Any:
    """Return the colours of the best lines by value."""
    import altair as alt

    values = [line.value for line in best]
    legend = alt.Legend(
        title=f"{record.metric} of the best tenth",
        direction="horizontal",
        gradientLength=160,
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
        "value": float(f"{line.value:.5g}"),
        "axis": list(range(len(line.places))),
        "place": [None if place is None else round(place, 4) for place in line.places],
    }


def _axes(record: Parallel, style: Style, y: Any) -> list[Any]:
    """Return the layers of the axes: lines, names and values."""
    import altair as alt

    lines = [{"axis": i, "name": axis.label, "from": 0, "to": 1} for i, axis in enumerate(record.axes)]
    ticks = [
        {"axis": i, "place": tick.place, "text": tick.label,
         "align": "left" if tick.place < 0.02 else "right" if tick.place > 0.98 else "center"}
        for i, axis in enumerate(record.axes)
        for tick in axis.ticks
    ]  # fmt: skip
    x = alt.X("from:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False))
    base, marks = alt.Chart(data(lines)).encode(y=y), alt.Chart(data(ticks)).encode(y=y, x=alt.X("place:Q", axis=None))
    return [
        base.mark_rule(color=style.quiet, strokeWidth=1).encode(x=x, x2="to:Q"),
        base.mark_text(align="left", dy=-9, fontWeight="bold", color=style.ink, fontSize=12).encode(x=x, text="name:N"),
        marks.mark_tick(orient="vertical", size=8, thickness=1, color=style.quiet),
        marks.mark_text(align={"expr": "datum.align"}, dy=12, color=style.quiet, fontSize=11).encode(text="text:N"),
    ]


def _row(point: SlicePoint, record: Slice) -> dict[str, Any]:
    row = {
        "trial": point.trial,
        "role": point.role.value,
        "parameter": shown(point.parameter) if record.axis.choices else point.parameter,
        "value": float(f"{point.value:.5g}"),
        "ran": "to the end" if point.is_complete else "stopped or paused",
    }
    if record.axis.choices:
        # Spreads the dots of a category over its strip, always the same way.
        row["spread"] = ((point.trial * 0.618) % 1 - 0.5) * 1.2 if point.role == Role.OTHER else 0
    return row
