"""Draw the cost of a study against its estimate."""

from tuner.report.page.charts.style import PAGE, WINNER, Spec, Style, data, finished, tip
from tuner.report.page.records.costs import Costs


def costs_chart(record: Costs, style: Style = PAGE) -> Spec:
    """Draw the training time of each phase as a bar, and the expected range as a bracket."""
    import altair as alt

    largest = max(max(phase.hours, *(phase.expected_hours or (0.0, 0.0))) for phase in record.phases)
    scale, unit = (60.0, record.unit.replace("hours", "minutes")) if largest < 1 else (1.0, record.unit)
    form = ",.1f" if largest * scale < 100 else ",.0f"
    rows = []
    for phase in record.phases:
        low, high = phase.expected_hours or (None, None)
        expected = "" if low is None or high is None else _range(low * scale, high * scale, form)
        rows.append(
            {
                "phase": phase.phase,
                "name": f"{phase.phase}: {phase.hours * scale:{form}}" + (f", expected {expected}" if expected else ""),
                "spent": phase.hours * scale,
                "low": None if low is None else low * scale,
                "high": None if high is None else high * scale,
                "expected": expected or "unknown",
                "epochs": phase.epochs,
            }
        )
    tips = [tip("phase", "N"), alt.Tooltip("spent:Q", title=f"spent, {unit}", format=form),
            alt.Tooltip("expected:N", title=f"expected, {unit}"), tip("epochs", "Q")]  # fmt: skip
    y = alt.Y("phase:N", title=None, sort=[phase.phase for phase in record.phases], axis=None)
    base = alt.Chart(data(rows)).encode(y=y, tooltip=tips)
    x = alt.X("spent:Q", title=unit, scale=alt.Scale(domainMin=0))
    names = base.mark_text(align="left", yOffset=-9, color=style.ink, fontSize=12)
    layers = [
        base.mark_bar(height=14, yOffset=8, color=WINNER, opacity=0.85).encode(x=x),
        names.encode(x=alt.value(0), text="name:N"),
    ]
    if estimated := [row for row in rows if row["low"] is not None]:  # Vega warns of layers without data
        known = alt.Chart(data(estimated)).encode(y=y, tooltip=tips)
        ends = known.mark_tick(thickness=3, height=22, color=style.ink, yOffset=8)
        bracket = known.mark_rule(strokeWidth=3, color=style.ink, yOffset=8).encode(x="low:Q", x2="high:Q")
        layers[1:1] = [bracket, ends.encode(x="low:Q"), ends.encode(x="high:Q")]
    return finished(alt.layer(*layers), style, height=44 * len(rows))


def _range(low: float, high: float, form: str) -> str:
    ends = f"{low:{form}}", f"{high:{form}}"
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
