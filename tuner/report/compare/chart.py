"""Draw the best values of several searches over their training time."""

from typing import Any

from tuner.report.compare.study import ComparedStudy
from tuner.report.page.charts.style import PAGE, Spec, Style, data, finished, tip
from tuner.report.page.records.best_over_cost import BestOverCost

_COLOURS = ["#2f7fe0", "#d9730d", "#4f8f5b", "#b0479a", "#8a94a3", "#a8871f"]
_SHAPES = ["circle", "diamond", "square", "triangle-up", "cross", "triangle-down"]
"""Colours and shapes of the studies, repeated from the seventh on."""


def best_values_chart(studies: tuple[ComparedStudy, ...], style: Style = PAGE) -> Spec:
    """Draw one line of steps for each study that has a value, with a point at every improvement.

    The values of the studies must be comparable.
    """
    import altair as alt

    drawn = [(study.label, study.best_over_cost) for study in studies if study.best_over_cost is not None]
    units = dict.fromkeys(record.unit for _, record in drawn)
    is_short = max(record.hours for _, record in drawn) < 1
    scale, title = (60.0, " or ".join(units).replace("hours", "minutes")) if is_short else (1.0, " or ".join(units))
    x = alt.X("cost:Q", title=f"{title} of training", scale=alt.Scale(domainMin=0))
    y = alt.Y("best:Q", title=f"best {drawn[0][1].metric} so far", scale=alt.Scale(zero=False))
    names = [label for label, _ in drawn]
    legend = alt.Legend(columns=1, labelLimit=330, symbolStrokeWidth=2.5)
    colour = alt.Color("study:N", title=None, sort=names, scale=_cycled(names, _COLOURS), legend=legend)
    lines = (
        alt.Chart(data([row for label, record in drawn for row in _steps(label, record, scale)]))
        .mark_line(interpolate="step-after", strokeWidth=2.5)
        .encode(x=x, y=y, color=colour)
    )
    points = (
        alt.Chart(data([row for label, record in drawn for row in _improvements(label, record, scale)]))
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=alt.Shape("study:N", title=None, sort=names, scale=_cycled(names, _SHAPES), legend=legend),
            tooltip=[tip("study", "N"), tip("trial", "Q"), tip("best", "Q", ".4f"), tip("cost", "Q", ".3f")],
        )
    )
    return finished(alt.layer(lines, points), style, height=300)


def _cycled(names: list[str], values: list[str]) -> Any:
    import altair as alt

    return alt.Scale(domain=names, range=[values[index % len(values)] for index in range(len(names))])


def _steps(label: str, record: BestOverCost, scale: float) -> list[dict[str, Any]]:
    steps = [{"study": label, "cost": point.hours * scale, "best": point.best} for point in record.points]
    return [*steps, {"study": label, "cost": record.hours * scale, "best": record.points[-1].best}]


def _improvements(label: str, record: BestOverCost, scale: float) -> list[dict[str, Any]]:
    before = [None, *(point.best for point in record.points)]
    return [
        {"study": label, "trial": point.trial, "cost": point.hours * scale, "best": point.best}
        for point, best in zip(record.points, before, strict=False)
        if point.best != best
    ]
