"""Draw how the trials ended."""

from tuner.report.page.charts.style import (
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
    tip,
)
from tuner.report.page.records.endings import EndingCount
from tuner.trials.live import DIVERGED

_COLOURS = {"complete": WINNER, "failed": FAILED, DIVERGED: CUT_OFF, "paused": PAUSED}


def endings_chart(record: tuple[EndingCount, ...], style: Style = PAGE) -> Spec:
    """Draw the number of trials for each ending as a bar under its name."""
    import altair as alt

    total = sum(each.trials for each in record)
    rows = [
        {
            "ending": each.ending,
            "trials": each.trials,
            "share": each.trials / total,
            "text": f"{each.ending}: {each.trials:,}",
            "colour": colour_of_ending(each.ending),
        }
        for each in record
    ]
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("ending:N", title=None, sort=None, axis=None),
        tooltip=[tip("ending", "N"), tip("trials", "Q"), tip("share", "Q", ".0%")],
    )
    x = alt.X("trials:Q", title="trials", axis=alt.Axis(tickMinStep=1, format="d"))
    bars = base.mark_bar(height=12, yOffset=8).encode(x=x, color=alt.Color("colour:N", scale=None))
    names = base.mark_text(align="left", yOffset=-8, color=style.ink, fontSize=12).encode(x=alt.value(0), text="text:N")
    return finished(alt.layer(bars, names), style, height=36 * len(rows))


def colour_of_ending(ending: str) -> str:
    """Return the colour of an ending, as `ending_of` names it."""
    return _COLOURS.get(ending.partition(":")[0].partition(" ")[0], OTHER)
