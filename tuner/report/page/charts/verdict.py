"""Draw the comparison of the leader with the default configuration."""

from tuner.report.page.charts.style import DEFAULT, OTHER, PAGE, WINNER, Spec, Style, data, finished, tip
from tuner.report.page.records.verdict import PairedSeeds


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
    base = alt.Chart(data(rows))
    x = alt.X("value:Q", title=record.metric, scale=alt.Scale(zero=False))
    y = alt.Y("seed:N", title=None, sort=None)
    line = base.mark_line(color=OTHER, strokeWidth=2).encode(x=x, y=y, detail="seed:N")
    colours = alt.Scale(domain=list(who.values()), range=[DEFAULT, WINNER])
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(
        x=x,
        y=y,
        color=alt.Color("configuration:N", scale=colours, title=None),
        shape=alt.Shape("configuration:N", scale=alt.Scale(domain=list(who.values()), range=["diamond", "circle"])),
        tooltip=[tip("seed", "N"), tip("configuration", "N"), tip("value", "Q", ".4f")],
    )
    return finished(alt.layer(line, dots), style, height=max(90, 30 * len(record.pairs)))


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
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(color=DEFAULT, strokeDash=[5, 4]).encode(x="zero:Q")
    seeds = (
        alt.Chart(data(differences))
        .mark_point(size=80, color=OTHER, filled=True)
        .encode(x=alt.X("gain:Q", title=title), y=y, tooltip=[tip("seed", "Q"), tip("gain", "Q", ".4f")])
    )
    span = alt.Chart(data(mean)).mark_rule(color=WINNER, strokeWidth=4).encode(x="low:Q", x2="high:Q", y=y)
    dot = (
        alt.Chart(data(mean))
        .mark_point(size=130, color=WINNER, filled=True, opacity=1)
        .encode(x="gain:Q", y=y, tooltip=[tip(name, "Q", ".4f") for name in ("gain", "low", "high")])
    )
    return finished(alt.layer(zero, seeds, span, dot), style, height=90)
