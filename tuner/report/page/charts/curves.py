"""Draw the learning curves of all trials."""

from typing import Any

from tuner.report.page.charts.style import DEFAULT, OTHER, PAGE, WINNER, Spec, Style, data, finished, rounded, tip
from tuner.report.page.records.curves import Curves, TrialCurve
from tuner.report.page.records.subject import Role

_MANY = 60
"""Number of curves from which on each is drawn fainter, without its points."""


def curves_chart(record: Curves, style: Style = PAGE) -> Spec:
    """Draw the learning curve of every trial, with the rungs as vertical lines."""
    import altair as alt

    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"))
    tips = [tip("trial", "Q"), tip("role", "N"), tip("ending", "N"), tip("epoch", "Q"), tip("value", "Q", ".4f")]

    def drawn(curves: list[TrialCurve]) -> Any:
        rows = alt.Chart(data([_row(curve) for curve in curves])).transform_flatten(["epoch", "value"])
        return rows.encode(x=x, y=alt.Y("value:Q", title=record.metric), detail="trial:Q", tooltip=tips)

    others = [curve for curve in record.curves if curve.role == Role.OTHER]
    is_many = len(others) >= _MANY
    point: Any = False if is_many else {"size": 14, "color": OTHER}
    rungs = alt.Chart(data([{"epoch": rung} for rung in record.rungs]))
    layers = [rungs.mark_rule(color=style.quiet, strokeDash=[2, 3]).encode(x=x)] if record.rungs else []
    if others:
        opacity = 0.25 if is_many else 0.6
        layers.append(drawn(others).mark_line(color=OTHER, opacity=opacity, strokeWidth=1, point=point))
    for curve in record.curves:
        if curve.role != Role.OTHER:
            colour = WINNER if curve.role == Role.WINNER else DEFAULT
            layers.append(drawn([curve]).mark_line(color=colour, strokeWidth=2.5, point={"size": 36, "color": colour}))
            layers.append(_named(curve, style))
    return finished(alt.layer(*layers), style, height=300)


def _named(curve: TrialCurve, style: Style) -> Any:
    """Return the name of a curve at its end."""
    import altair as alt

    end = {"epoch": curve.epochs[-1], "value": curve.values[-1], "text": f"{curve.role.value}, trial {curve.trial}"}
    dy = -11 if curve.role == Role.WINNER else 15
    text = alt.Chart(data([end])).mark_text(align="right", dx=-4, dy=dy, color=style.ink, fontSize=11)
    return text.encode(x="epoch:Q", y="value:Q", text="text:N")


def _row(curve: TrialCurve) -> dict[str, Any]:
    return {
        "trial": curve.trial,
        "role": curve.role.value,
        "ending": curve.ending,
        "epoch": list(curve.epochs),
        "value": rounded(curve.values),
    }
