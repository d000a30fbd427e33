"""Draw the records of a study as Vega-Lite charts; one function per chart, which reads nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tuner.report.study_records import BestOverCost, Curves, EndingCount, PairedSeeds, Role, SlotSpan

if TYPE_CHECKING:
    import altair as alt

Width = int | Literal["container"]

Spec = dict[str, Any]
"""Chart in the language of Vega-Lite, as JSON values."""

WINNER, DEFAULT, OTHER, ACCENT = "#2f7fe0", "#d9730d", "#8a94a3", "#4f8f5b"
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


PAGE = Style()
IMAGE = Style(width=760, ink="#1b1f24", quiet="#5a6472", line="#dfe3e8", background="white")
"""Style of charts that are files of their own."""


def paired_seeds_chart(record: PairedSeeds, style: Style = PAGE) -> Spec:
    """Draw both metrics of every seed with a line between them."""
    import altair as alt

    who = {"default": "default", "leader": f"trial {record.leader}"}
    rows = [
        {"seed": f"seed {pair.seed}", "configuration": who[name], "value": value}
        for pair in record.pairs
        for name, value in (("default", pair.default), ("leader", pair.leader))
        if value is not None
    ]
    base = alt.Chart(_data(rows))
    x = alt.X("value:Q", title=record.metric, scale=alt.Scale(zero=False))
    y = alt.Y("seed:N", title=None, sort=None)
    line = base.mark_line(color=OTHER, strokeWidth=2).encode(x=x, y=y, detail="seed:N")
    colours = alt.Scale(domain=list(who.values()), range=[DEFAULT, WINNER])
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        x=x,
        y=y,
        color=alt.Color("configuration:N", scale=colours, title=None),
        shape=alt.Shape("configuration:N", scale=alt.Scale(domain=list(who.values()), range=["diamond", "circle"])),
        tooltip=[_tip("seed", "N"), _tip("configuration", "N"), _tip("value", "Q", ".4f")],
    )
    return _finished(alt.layer(line, dots), style, height=max(90, 30 * len(record.pairs)))


def gain_chart(record: PairedSeeds, gain: float, interval: tuple[float, float], style: Style = PAGE) -> Spec:
    """Draw the gain of every seed, their mean and its interval."""
    import altair as alt

    differences = [
        {"row": "each seed", "seed": pair.seed, "gain": pair.leader - pair.default}
        for pair in record.pairs
        if pair.leader is not None and pair.default is not None
    ]
    low, high = interval
    mean = [{"row": "mean", "gain": gain, "low": low, "high": high}]
    y = alt.Y("row:N", title=None, sort=["each seed", "mean"])
    title = f"gain in {record.metric} over the default"
    zero = alt.Chart(_data([{"zero": 0}])).mark_rule(color=DEFAULT, strokeDash=[5, 4]).encode(x="zero:Q")
    seeds = (
        alt.Chart(_data(differences))
        .mark_point(size=80, color=OTHER, filled=True)
        .encode(x=alt.X("gain:Q", title=title), y=y, tooltip=[_tip("seed", "Q"), _tip("gain", "Q", ".4f")])
    )
    span = alt.Chart(_data(mean)).mark_rule(color=WINNER, strokeWidth=4).encode(x="low:Q", x2="high:Q", y=y)
    dot = (
        alt.Chart(_data(mean))
        .mark_point(size=130, color=WINNER, filled=True, opacity=1)
        .encode(x="gain:Q", y=y, tooltip=[_tip(name, "Q", ".4f") for name in ("gain", "low", "high")])
    )
    return _finished(alt.layer(zero, seeds, span, dot), style, height=90)


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
    y_scale = alt.Scale(zero=False)
    best = (
        alt.Chart(_data(steps))
        .mark_line(interpolate="step-after", color=WINNER, strokeWidth=2.5)
        .encode(x=x, y=alt.Y("best:Q", title=record.metric, scale=y_scale))
    )
    dots = (
        alt.Chart(_data(rows))
        .mark_point(filled=True, size=70, opacity=0.9)
        .encode(
            x=x,
            y=alt.Y("value:Q", title=record.metric, scale=y_scale),
            color=_roles(),
            tooltip=[_tip("trial", "Q"), _tip("role", "N"), _tip("value", "Q", ".4f"), _tip("cost", "Q", ".3f")],
        )
    )
    layers: list[alt.Chart] = []
    if record.estimate is not None:
        low, high = (end * scale for end in record.estimate)
        width = {"low": low, "high": max(high, low * 1.002)}
        band = alt.Chart(_data([width]))
        layers.append(band.mark_rect(color=ACCENT, opacity=0.25).encode(x=alt.X("low:Q", title=title), x2="high:Q"))
    if record.default is not None:
        level = alt.Chart(_data([{"level": record.default}]))
        layers.append(level.mark_rule(color=DEFAULT, strokeDash=[5, 4], strokeWidth=1.5).encode(y="level:Q"))
    return _finished(alt.layer(*layers, best, dots), style, height=280)


def curves_chart(record: Curves, style: Style = PAGE) -> Spec:
    """Draw the learning curve of every trial, with the rungs as vertical lines."""
    import altair as alt

    rows = [
        {
            "trial": c.trial,
            "role": c.role.value,
            "ending": c.ending,
            "epoch": list(c.epochs),
            "value": _rounded(c.values),
        }
        for c in record.curves
    ]
    drawn = alt.Chart(_data(rows)).transform_flatten(["epoch", "value"])
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d"))
    encoded: dict[str, Any] = {
        "x": x,
        "y": alt.Y("value:Q", title=record.metric),
        "detail": "trial:Q",
        "tooltip": [_tip("trial", "Q"), _tip("role", "N"), _tip("ending", "N"), _tip("epoch", "Q"),
                    _tip("value", "Q", ".4f")],
    }  # fmt: skip
    is_other = alt.datum.role == Role.OTHER.value
    faint = 0.55 if len(rows) < 60 else 0.25
    others = drawn.transform_filter(is_other).mark_line(opacity=faint, strokeWidth=1, point={"size": 14})
    marked = drawn.transform_filter(~is_other).mark_line(strokeWidth=2.5, point={"size": 36})
    rungs = alt.Chart(_data([{"epoch": rung} for rung in record.rungs]))
    lines = rungs.mark_rule(color=style.quiet, strokeDash=[2, 3]).encode(x=x)
    drawn_curves = [layer.encode(**encoded, color=_roles()) for layer in (others, marked)]
    return _finished(alt.layer(lines, *drawn_curves), style, height=300)


def endings_chart(record: tuple[EndingCount, ...], style: Style = PAGE) -> Spec:
    """Draw the number of trials for each ending."""
    import altair as alt

    rows = [{"ending": each.ending, "trials": each.trials} for each in record]
    base = alt.Chart(_data(rows)).encode(
        y=alt.Y("ending:N", title=None, sort=None, axis=alt.Axis(labelLimit=190)),
        x=alt.X("trials:Q", title="trials", axis=alt.Axis(tickMinStep=1, format="d")),
    )
    bars = base.mark_bar(color=WINNER, opacity=0.8).encode(tooltip=[_tip("ending", "N"), _tip("trials", "Q")])
    labels = base.mark_text(align="left", dx=4, color=style.ink).encode(text="trials:Q")
    return _finished(alt.layer(bars, labels), style, height=26 * len(rows))


def slots_chart(spans: tuple[SlotSpan, ...], style: Style = PAGE) -> Spec:
    """Draw which slot trained which trial at which time; gaps are idle time."""
    import altair as alt

    first = min(span.began_s for span in spans)
    last = max(max(span.began_s, span.ended_s or 0.0) for span in spans)
    minutes = last - first < 2 * 3600
    unit, length = ("minutes", 60) if minutes else ("hours", 3600)
    rows = [
        {
            "slot": span.slot,
            "trial": span.trial,
            "seed": span.seed,
            "phase": span.phase,
            "began": round((span.began_s - first) / length, 4),
            "ended": round(((last if span.ended_s is None else span.ended_s) - first) / length, 4),
            "epochs": f"{span.from_epoch} to {span.to_epoch}",
            "ending": span.ending,
        }
        for span in spans
    ]
    slots = sorted({span.slot for span in spans})
    tips = [_tip(name, "N") for name in ("slot", "phase", "trial", "seed", "epochs", "ending")]
    chart = (
        alt.Chart(_data(rows))
        .mark_bar(stroke=style.ink, strokeWidth=0.4, height={"band": 0.8})
        .encode(
            x=alt.X("began:Q", title=f"{unit} since the start"),
            x2="ended:Q",
            y=alt.Y("slot:N", title=None, sort=slots, axis=alt.Axis(labelLimit=120)),
            color=alt.Color("ending:N", title=None, scale=alt.Scale(scheme="tableau10")),
            tooltip=tips,
        )
    )
    return _finished(chart, style, height=max(60, 28 * len(slots)))


def _finished(chart: Any, style: Style, *, height: int) -> Spec:
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
        legend=legend,
    ).to_dict()
    return finished


def _roles() -> "alt.Color":
    """Return the colours of winner, default and other trials."""
    import altair as alt

    scale = alt.Scale(domain=[role.value for role in Role], range=[WINNER, DEFAULT, OTHER])
    return alt.Color("role:N", scale=scale, title=None)


def _data(rows: Sequence[Mapping[str, Any]]) -> "alt.InlineData":
    import altair as alt

    return alt.InlineData(values=list(rows))


def _tip(field: str, kind: str, form: str = "") -> "alt.Tooltip":
    import altair as alt

    tip = alt.Tooltip(f"{field}:{kind}")
    return tip.format(form) if form else tip


def _rounded(values: tuple[float, ...]) -> list[float]:
    """Return the values with six significant digits, which keeps the page small."""
    return [float(f"{value:.6g}") if math.isfinite(value) else value for value in values]
