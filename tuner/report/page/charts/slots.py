"""Draw what each slot did over time."""

from datetime import timedelta
from typing import Any

from tuner.report.page.charts.style import (
    ACCENT,
    CUT_OFF,
    FAILED,
    OTHER,
    PAGE,
    PAUSED,
    WINNER,
    Spec,
    Style,
    data,
    finished,
    key,
    tip,
)
from tuner.report.page.records.slots import Slots, Work
from tuner.study import Span

_COLOURS = {
    Work.COMPLETE: WINNER,
    Work.PAUSED: PAUSED,
    Work.STOPPED: OTHER,
    Work.FAILED: FAILED,
    Work.CUT_OFF: CUT_OFF,
    Work.RUNNING: ACCENT,
}
_MANY_SLOTS = 12
_CLOSE = 0.2
"""Share of the time below which two names of phases, or a name and the end of the chart, would collide."""


def slots_chart(record: Slots, style: Style = PAGE) -> Spec:
    """Draw a bar for each attempt in the row of its slot; gaps are idle time, dashed lines are breaks of the study."""
    import altair as alt

    unit, length_s = _unit(record.ended_s)
    names = {slot: f"slot {slot}: {100 * busy:.0f} %" for slot, busy in record.busy}
    rows = [
        {
            "slot": names[bar.span.slot],
            "phase": bar.span.phase,
            "trial": bar.span.trial,
            "seed": bar.span.seed,
            "began": round(bar.began_s / length_s, 4),
            "ended": round(bar.ended_s / length_s, 4),
            "epochs": _epochs(bar.span),
            "lasted": str(timedelta(seconds=round(bar.ended_s - bar.began_s))),
            "result": bar.work.value if bar.span.ended_s is not None else f"{bar.work.value}, no end recorded",
            "work": bar.work.value,
            "retry": "yes" if bar.is_retry else "no",
            "device": bar.span.device or "unknown",
        }
        for bar in record.bars
    ]  # fmt: skip
    used = [work for work in Work if any(bar.work == work for bar in record.bars)]
    height = (26 if len(names) <= _MANY_SLOTS else 16) * len(names)
    scale = alt.Scale(domain=[0, record.ended_s / length_s or 1], nice=False)
    x = alt.X("began:Q", title=f"{unit} of running time", scale=scale)
    y = alt.Y("slot:N", title=None, sort=list(names.values()), axis=alt.Axis(labelLimit=120, grid=False, ticks=False))
    base = alt.Chart(data(rows)).encode(y=y)
    bars = base.mark_bar(stroke=style.paper, strokeWidth=0.5, height={"band": 0.78}).encode(
        x=x,
        x2="ended:Q",
        color=alt.Color("work:N", title=None, legend=key(), scale=alt.Scale(
            domain=[work.value for work in used], range=[_COLOURS[work] for work in used])),
        tooltip=[tip(name, "N") for name in
                 ("slot", "phase", "trial", "seed", "retry", "epochs", "lasted", "result", "device")],
    )  # fmt: skip
    layers = [bars, *_retries(rows, y, style), *_phases(record, style, length_s), *_breaks(record, style, length_s)]
    return finished(alt.layer(*layers), style, height=max(60, height))


def _retries(rows: list[dict[str, Any]], y: Any, style: Style) -> list[Any]:
    import altair as alt

    again = [row for row in rows if row["retry"] == "yes"]
    if not again:
        return []
    mark = alt.Chart(data(again)).mark_text(text="↻", align="left", dx=2, color=style.ink, fontSize=11)
    return [mark.encode(x="began:Q", y=y)]


def _phases(record: Slots, style: Style, length_s: float) -> list[Any]:
    """Return a line and a name where each phase begins."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    for phase in record.phases:
        share = phase.began_s / (record.ended_s or 1.0)
        is_close = bool(rows) and share - rows[-1]["share"] < _CLOSE
        rows.append({
            "at": phase.began_s / length_s,
            "phase": phase.phase,
            "share": share,
            "align": "right" if share > 1 - _CLOSE else "left",
            # Names of phases that start shortly after one another are on lines of their own.
            "dy": rows[-1]["dy"] - 12 if is_close else -7,
        })  # fmt: skip
    base = alt.Chart(data(rows)).encode(x="at:Q")
    align, dy = {"expr": "datum.align"}, {"expr": "datum.dy"}
    names = base.mark_text(align=align, dx=2, dy=dy, color=style.ink, fontSize=11)
    return [base.mark_rule(color=style.ink, strokeWidth=1), names.encode(y=alt.value(0), text="phase:N")]


def _breaks(record: Slots, style: Style, length_s: float) -> list[Any]:
    import altair as alt

    if not record.breaks:
        return []
    rows = [
        {"at": each.at_s / length_s, "lasted": f"not driven for {timedelta(seconds=round(each.lasted_s))}"}
        for each in record.breaks
    ]
    line = alt.Chart(data(rows)).mark_rule(color=style.ink, strokeDash=[4, 3], strokeWidth=2)
    return [line.encode(x="at:Q", tooltip=[alt.Tooltip("lasted:N", title="break")])]


def _epochs(span: Span) -> str:
    return f"{span.from_epoch} to {span.to_epoch}" if span.to_epoch >= span.from_epoch else "none"


def _unit(seconds: float) -> tuple[str, float]:
    if seconds < 2 * 3600:
        return "minutes", 60.0
    return ("hours", 3600.0) if seconds < 100 * 3600 else ("days", 86400.0)
