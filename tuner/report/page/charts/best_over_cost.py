"""Draw the best value of a search over its training time."""

from typing import TYPE_CHECKING, Any

from tuner.report.page.charts.style import (
    ACCENT,
    DEFAULT,
    PAGE,
    WINNER,
    Spec,
    Style,
    data,
    finished,
    role_colours,
    roomy,
    tip,
)
from tuner.report.page.records.best_over_cost import BestOverCost
from tuner.report.page.records.subject import Role

if TYPE_CHECKING:
    import altair as alt

_RIGHT = 0.8
"""Share of the axis from which on a name is to the left of its dot."""


def best_over_cost_chart(record: BestOverCost, style: Style = PAGE) -> Spec:
    """Draw the best value as steps, each trial as a dot, the default's level and the estimated training time."""
    import altair as alt

    scale, unit = (60.0, record.unit.replace("hours", "minutes")) if record.hours < 1 else (1.0, record.unit)
    rows = [
        {"trial": p.trial, "role": p.role.value, "cost": p.hours * scale, "value": p.value, "best": p.best}
        for p in record.points
    ]
    steps = [{"cost": row["cost"], "best": row["best"]} for row in rows]
    steps.append({"cost": record.hours * scale, "best": rows[-1]["best"]})
    x = alt.X("cost:Q", title=f"{unit} of training", scale=alt.Scale(domainMin=0))
    level = roomy([point.value for point in record.points])
    tips = [tip("trial", "Q"), tip("role", "N"), tip("value", "Q", ".4f"), tip("cost", "Q", ".3f")]
    line = alt.Chart(data(steps)).mark_line(interpolate="step-after", color=WINNER, strokeWidth=2.5)
    dots = alt.Chart(data(rows)).mark_point(filled=True, size=70, opacity=0.9)
    layers = [
        *_references(record, style, scale, level),
        line.encode(x=x, y=alt.Y("best:Q", title=record.metric, scale=level)),
        dots.encode(x=x, y=alt.Y("value:Q", scale=level), color=role_colours(legend=False), tooltip=tips),
        *(_named(row, style, record.hours * scale, level) for row in rows if row["role"] != Role.OTHER),
    ]
    return finished(alt.layer(*layers), style, height=280)


def _references(record: BestOverCost, style: Style, scale: float, level: "alt.Scale") -> list[Any]:
    """Return the band of the estimate and the level of the default."""
    import altair as alt

    layers: list[Any] = []
    if record.estimate is not None:
        low, high = (end * scale for end in record.estimate)
        band = alt.Chart(data([{"low": low, "high": max(high, low * 1.002)}])).encode(x="low:Q")
        layers.append(band.mark_rect(color=ACCENT, opacity=0.25).encode(x2="high:Q"))
        name = band.mark_text(
            text="estimated cost", angle=270, align="left", baseline="top", dx=6, dy=4, color=style.ink, fontSize=11
        )
        layers.append(name.encode(y=alt.value("height")))
    if record.default is not None:
        rule = alt.Chart(data([{"level": record.default}])).mark_rule(color=DEFAULT, strokeDash=[5, 4], strokeWidth=1.5)
        layers.append(rule.encode(y=alt.Y("level:Q", scale=level)))
    return layers


def _named(row: dict[str, Any], style: Style, end: float, level: "alt.Scale") -> Any:
    """Return the name of a trial next to its dot."""
    import altair as alt

    is_left = row["cost"] < _RIGHT * end
    text = alt.Chart(data([{"cost": row["cost"], "value": row["value"]}])).mark_text(
        text=f"{row['role']}, trial {row['trial']}",
        align="left" if is_left else "right",
        dx=8 if is_left else -8,
        dy=12,
        color=style.ink,
        fontSize=11,
    )
    return text.encode(x="cost:Q", y=alt.Y("value:Q", scale=level))
