"""Draw the learning curves of all trials."""

from typing import Any

from tuner.report.page.charts.style import PAGE, Spec, Style, data, finished, role_colours, rounded, tip
from tuner.report.page.records.curves import Curves
from tuner.report.page.records.subject import Role


def curves_chart(record: Curves, style: Style = PAGE) -> Spec:
    """Draw the learning curve of every trial, with the rungs as vertical lines."""
    import altair as alt

    rows = [
        {
            "trial": c.trial,
            "role": c.role.value,
            "ending": c.ending,
            "epoch": list(c.epochs),
            "value": rounded(c.values),
        }
        for c in record.curves
    ]
    drawn = alt.Chart(data(rows)).transform_flatten(["epoch", "value"])
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"))
    encoded: dict[str, Any] = {
        "x": x,
        "y": alt.Y("value:Q", title=record.metric),
        "detail": "trial:Q",
        "tooltip": [tip("trial", "Q"), tip("role", "N"), tip("ending", "N"), tip("epoch", "Q"),
                    tip("value", "Q", ".4f")],
    }  # fmt: skip
    is_other = alt.datum.role == Role.OTHER.value
    faint = 0.55 if len(rows) < 60 else 0.25
    others = drawn.transform_filter(is_other).mark_line(opacity=faint, strokeWidth=1, point={"size": 14})
    marked = drawn.transform_filter(~is_other).mark_line(strokeWidth=2.5, point={"size": 36})
    rungs = alt.Chart(data([{"epoch": rung} for rung in record.rungs]))
    lines = rungs.mark_rule(color=style.quiet, strokeDash=[2, 3]).encode(x=x)
    drawn_curves = [layer.encode(**encoded, color=role_colours()) for layer in (others, marked)]
    return finished(alt.layer(lines, *drawn_curves), style, height=300)
