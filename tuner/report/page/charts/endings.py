"""Draw how the trials ended."""

from tuner.report.page.charts.style import PAGE, WINNER, Spec, Style, data, finished, tip
from tuner.report.page.records.endings import EndingCount


def endings_chart(record: tuple[EndingCount, ...], style: Style = PAGE) -> Spec:
    """Draw the number of trials for each ending."""
    import altair as alt

    rows = [{"ending": each.ending, "trials": each.trials} for each in record]
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("ending:N", title=None, sort=None, axis=alt.Axis(labelLimit=190)),
        x=alt.X("trials:Q", title="trials", axis=alt.Axis(tickMinStep=1, format="d")),
    )
    bars = base.mark_bar(color=WINNER, opacity=0.8).encode(tooltip=[tip("ending", "N"), tip("trials", "Q")])
    labels = base.mark_text(align="left", dx=4, color=style.ink).encode(text="trials:Q")
    return finished(alt.layer(bars, labels), style, height=26 * len(rows))
