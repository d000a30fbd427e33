"""Draw the course of one run: its losses and its metrics by epoch."""

from tuner.report.page.charts.style import PAGE, Spec, Style, data, finished, tip
from tuner.report.page.records.final_run import RunCurve

_COLOURS = ("#2f7fe0", "#d9730d", "#4f8f5b", "#9c5fb5")
"""Colours that can be told apart, also by colour-blind readers, on a light and on a dark background."""


def run_chart(curves: tuple[RunCurve, ...], style: Style = PAGE) -> Spec:
    """Draw curves by epoch: one colour for each name; training solid, validation dashed."""
    import altair as alt

    names = list(dict.fromkeys(curve.name for curve in curves))
    splits = list(dict.fromkeys(curve.split for curve in curves))
    rows = [
        {"name": curve.name, "split": curve.split, "epoch": list(curve.epochs), "value": list(curve.values)}
        for curve in curves
    ]
    colours = alt.Scale(domain=names, range=list(_COLOURS[: len(names)]))
    encoded = {
        "x": alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d")),
        "y": alt.Y("value:Q", title=None),
        "color": alt.Color("name:N", title=None, scale=colours, legend=alt.Legend(columns=4)),
        "tooltip": [tip("name", "N"), tip("split", "N"), tip("epoch", "Q"), tip("value", "Q", ".4f")],
    }
    if len(splits) > 1:
        dashes = alt.Scale(domain=splits, range=[[1, 0], [5, 3]])
        encoded["strokeDash"] = alt.StrokeDash(
            "split:N", title=None, scale=dashes, legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2)
        )
    else:
        encoded["detail"] = "split:N"
    flat = alt.Chart(data(rows)).transform_flatten(["epoch", "value"])
    return finished(flat.mark_line(strokeWidth=2, point={"size": 16}).encode(**encoded), style, height=260)
