"""Draw which parameters the best trials owe their rank to."""

from tuner.report.page.charts.style import OTHER, PAGE, WINNER, Spec, Style, data, finished, tip
from tuner.report.page.records.importance import Importance

ROW_PX = 36


def importance_chart(record: Importance, style: Style = PAGE) -> Spec:
    """Draw a bar for each parameter under its name, and a tick where chance ends."""
    import altair as alt

    longest = max(each.share for each in record.parameters)
    end = min(1.0, max(longest, *(min(each.by_chance, 1.0) for each in record.parameters)) * 1.15)
    rows = [
        {
            "parameter": each.label,
            "importance": round(each.share, 4),
            "chance": round(min(each.by_chance, end), 4),
            "verdict": "more than chance" if each.stands_out else "within chance",
        }
        for each in record.parameters
    ]
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("parameter:N", title=None, sort=None, axis=None),
        tooltip=[
            tip("parameter", "N"),
            tip("importance", "Q", ".1%"),
            alt.Tooltip("chance:Q", title="by chance, up to", format=".1%"),
        ],
    )
    axis = alt.Axis(format=".0%", tickCount=5)
    x = alt.X("importance:Q", title="share of the importance", axis=axis, scale=alt.Scale(domain=[0, end], nice=False))
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=["more than chance", "within chance"], range=[WINNER, OTHER]),
        legend=None,
    )
    bars = base.mark_bar(height=12, yOffset=8).encode(x=x, color=colour)
    ticks = base.mark_tick(color=style.ink, thickness=2, height=18, yOffset=8).encode(x=alt.X("chance:Q"))
    names = base.mark_text(align="left", yOffset=-8, color=style.ink, fontSize=12).encode(
        text="parameter:N", x=alt.value(0)
    )
    return finished(alt.layer(bars, ticks, names), style, height=ROW_PX * len(rows))
