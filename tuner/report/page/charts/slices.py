"""Draw the result by the values of one parameter."""

from collections.abc import Sequence
from typing import Any

from tuner.report.page.charts.endings import colour_of_ending
from tuner.report.page.charts.style import DEFAULT, OTHER, PAGE, WINNER, Spec, Style, data, finished, roomy, tip
from tuner.report.page.records.parameters import shown
from tuner.report.page.records.slices import Slice, SlicePoint
from tuner.report.page.records.subject import Role

_RIGHT = 0.6
"""Position on an axis from which on a label is to the left of its point."""


def slice_chart(record: Slice, style: Style = PAGE) -> Spec:
    """Draw the value of each complete trial by one parameter, the winner and the default by name; others are ticks."""
    import altair as alt

    encoding = _slice_encoding(record)
    others = [point for point in record.points if point.role == Role.OTHER]
    complete = [point for point in others if point.value is not None]
    layers = _rug(record, [point for point in record.points if point.value is None])
    if complete:
        dots = alt.Chart(data([_row(point, record) for point in complete]))
        layers.append(dots.mark_point(size=34, filled=True, opacity=0.85, color=OTHER).encode(**encoding))
    named = [point for point in record.points if point.role != Role.OTHER and point.value is not None]
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


def _rug(record: Slice, points: Sequence[SlicePoint]) -> list[Any]:
    """Return ticks at the bottom for the trials that did not get to the last epoch."""
    import altair as alt

    if not points:
        return []
    encoding = {name: channel for name, channel in _slice_encoding(record).items() if name != "y"}
    ticks = alt.Chart(data([_row(point, record) for point in points]))
    colour = alt.Color("colour:N", scale=None)
    return [
        ticks.mark_tick(orient="vertical", size=9, thickness=1, opacity=0.7, yOffset=-5).encode(
            **encoding, y=alt.value("height"), color=colour
        )
    ]


def _slice_encoding(record: Slice) -> dict[str, Any]:
    import altair as alt

    axis = record.axis
    tips = [tip("trial", "Q"), tip("role", "N"), alt.Tooltip("parameter", title=axis.label, type="nominal"),
            alt.Tooltip("value:Q", title=record.metric, format=".4f"), tip("ending", "N")]  # fmt: skip
    values = [point.value for point in record.points if point.value is not None]
    scale = roomy(values, below=0.3, above=0.15)  # the ticks at the bottom need room
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4))
    if axis.choices:
        choices = [shown(choice) for choice in axis.choices]
        places = alt.Scale(domain=choices)
        return {
            "x": alt.X("parameter:N", title=None, sort=choices, scale=places, axis=alt.Axis(labelAngle=0, grid=False)),
            "xOffset": alt.XOffset("spread:Q", scale=alt.Scale(domain=[-1, 1])),
            "y": y,
            "tooltip": tips,
        }
    places = alt.Scale(type="log" if axis.is_log else "linear", domain=[axis.low, axis.high], nice=False)
    ticks = alt.Axis(
        format="~g" if abs(axis.high) < 1e4 else "~s", tickCount=4, labelOverlap=True, labelFlush=True, grid=False
    )
    title = "log scale" if axis.is_log else None
    return {"x": alt.X("parameter:Q", title=title, scale=places, axis=ticks), "y": y, "tooltip": tips}


def _row(point: SlicePoint, record: Slice) -> dict[str, Any]:
    row = {
        "trial": point.trial,
        "role": point.role.value,
        "parameter": shown(point.parameter) if record.axis.choices else point.parameter,
        "value": None if point.value is None else float(f"{point.value:.5g}"),
        "ending": point.ending,
        "colour": colour_of_ending(point.ending),
    }
    if record.axis.choices:
        # Spreads the dots of a category over its strip, always the same way.
        row["spread"] = ((point.trial * 0.618) % 1 - 0.5) * 1.2 if point.role == Role.OTHER else 0
    return row
