"""Show what each slot did."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from tuner.report.page.charts.slots import slots_chart
from tuner.report.page.content import Chart, Details, Section, Table
from tuner.report.page.records.slots import Slots, Work, slots_of
from tuner.study import Span, TrialRecord


def slot_section(spans: Sequence[Span], trials: Sequence[TrialRecord]) -> Iterator[Section]:
    """Yield the section on the slots, if a timeline is recorded."""
    record = slots_of(spans, trials)
    if record is None:
        return
    drawn = Chart(
        name="slots",
        draw=lambda style: slots_chart(record, style),
        description=f"Work of {len(record.busy)} slots over time",
    )
    note = (
        f"A bar is an attempt at a run; the share after a slot's name is the part of the {record.phases[0].phase} in "
        "which it worked. Gaps are idle time: a paused trial waits without a slot."
    )
    note += " ↻ marks a retry." if any(bar.is_retry for bar in record.bars) else ""
    if record.breaks:
        lasted = timedelta(seconds=round(sum(each.lasted_s for each in record.breaks)))
        note += f" The dashed line is a break of {lasted} in which the study was not driven; it does not count."
    yield Section(
        title=_title(record), note=note, items=(drawn, Details(summary="The numbers", items=(_table(record),)))
    )


def _title(record: Slots) -> str:
    first = record.phases[0]
    lost = sum(bar.work in (Work.FAILED, Work.CUT_OFF) for bar in record.bars)
    cost = f"; {lost} of {len(record.bars)} attempts failed or were cut off" if lost else ""
    name = "slot was" if first.slots == 1 else f"{first.slots} slots were"
    return f"In the {first.phase}, the {name} busy {100 * first.busy:.0f} % of the time{cost}"


def _table(record: Slots) -> Table:
    rows = tuple(
        (
            phase.phase,
            f"{phase.spans:,}",
            str(phase.slots),
            str(timedelta(seconds=round(phase.ended_s - phase.began_s))),
            f"{100 * phase.busy:.0f} %",
        )
        for phase in record.phases
    )
    return Table(header=("phase", "attempts", "slots", "duration", "busy"), rows=rows, numbers=frozenset({1, 2, 3, 4}))
