"""Draw what each slot did over time."""

from tuner.report.page.charts.style import PAGE, Spec, Style, data, finished, tip
from tuner.report.page.records.slots import Slots


def slots_chart(record: Slots, style: Style = PAGE) -> Spec:
    """Draw which slot trained which trial at which time; gaps are idle time."""
    import altair as alt

    is_short = record.ended_s - record.began_s < 2 * 3600
    unit, length_s = ("minutes", 60) if is_short else ("hours", 3600)
    rows = [
        {
            "slot": f"slot {bar.span.slot}",
            "trial": bar.span.trial,
            "seed": bar.span.seed,
            "phase": bar.span.phase,
            "began": round((bar.span.began_s - record.began_s) / length_s, 4),
            "ended": round((bar.ended_s - record.began_s) / length_s, 4),
            "epochs": f"{bar.span.from_epoch} to {bar.span.to_epoch}",
            "ending": bar.span.ending or "no end recorded",
        }
        for bar in record.bars
    ]
    slots = [f"slot {slot}" for slot, _ in record.busy]
    tips = [tip(name, "N") for name in ("slot", "phase", "trial", "seed", "epochs", "ending")]
    chart = (
        alt.Chart(data(rows))
        .mark_bar(stroke=style.ink, strokeWidth=0.4, height={"band": 0.8})
        .encode(
            x=alt.X("began:Q", title=f"{unit} since the start"),
            x2="ended:Q",
            y=alt.Y("slot:N", title=None, sort=slots, axis=alt.Axis(labelLimit=120)),
            color=alt.Color("ending:N", title=None, scale=alt.Scale(scheme="tableau10")),
            tooltip=tips,
        )
    )
    return finished(chart, style, height=max(60, 28 * len(slots)))
