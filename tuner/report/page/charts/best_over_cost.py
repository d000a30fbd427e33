"""Draw the best value of a search over its training time."""

from typing import Any

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


def best_over_cost_chart(record: BestOverCost, style: Style = PAGE) -> Spec:
    """Draw the best value as steps, each trial as a dot, the default's level and the estimated training time."""
    import altair as alt

    minutes = record.hours < 1
    scale, unit = (60.0, record.unit.replace("hours", "minutes")) if minutes else (1.0, record.unit)
    rows = [
        {"trial": p.trial, "role": p.role.value, "cost": p.hours * scale, "value": p.value, "best": p.best}
        for p in record.points
    ]
    steps = [{"cost": row["cost"], "best": row["best"]} for row in rows]
    steps.append({"cost": record.hours * scale, "best": rows[-1]["best"]})
    title = f"{unit} of training"
    x = alt.X("cost:Q", title=title, scale=alt.Scale(domainMin=0))
    y_scale = roomy([point.value for point in record.points])
    best = (
        alt.Chart(data(steps))
        .mark_line(interpolate="step-after", color=WINNER, strokeWidth=2.5)
        .encode(x=x, y=alt.Y("best:Q", title=record.metric, scale=y_scale))
    )
    dots = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=70, opacity=0.9)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=record.metric, scale=y_scale),
            color=role_colours(legend=False),
            tooltip=[tip("trial", "Q"), tip("role", "N"), tip("value", "Q", ".4f"), tip("cost", "Q", ".3f")],
        )
    )

    def named(row: dict[str, Any]) -> Any:
        is_left = row["cost"] < 0.8 * record.hours * scale
        text = alt.Chart(data([row])).mark_text(
            text=f"{row['role']}, trial {row['trial']}", align="left" if is_left else "right", dx=8 if is_left else -8,
            dy=12, color=style.ink, fontSize=11,
        )  # fmt: skip
        return text.encode(x="cost:Q", y="value:Q")

    layers: list[Any] = []
    if record.estimate is not None:
        low, high = (end * scale for end in record.estimate)
        width = {"low": low, "high": max(high, low * 1.002)}
        band = alt.Chart(data([width]))
        edge = alt.X("low:Q", title=title)
        layers.append(band.mark_rect(color=ACCENT, opacity=0.25).encode(x=edge, x2="high:Q"))
        name = band.mark_text(
            text="estimated cost", angle=270, align="left", baseline="top", dx=6, dy=4, color=style.ink, fontSize=11
        )
        layers.append(name.encode(x=edge, y=alt.value("height")))
    if record.default is not None:
        level = alt.Chart(data([{"level": record.default}]))
        layers.append(level.mark_rule(color=DEFAULT, strokeDash=[5, 4], strokeWidth=1.5).encode(y="level:Q"))
    names = [named(row) for row in rows if row["role"] != Role.OTHER]
    return finished(alt.layer(*layers, best, dots, *names), style, height=280)
