"""Show how the trials ended, and why some failed."""

from collections.abc import Iterator, Sequence

from tuner.report.page.charts.endings import endings_chart
from tuner.report.page.content import Chart, Details, Item, Section, Table, Text
from tuner.report.page.records.endings import EndingCount, endings
from tuner.report.page.records.failures import FailureGroup, failure_groups
from tuner.study import TrialRecord
from tuner.system.printable import printable

_NUMBERS_SHOWN = 12
_CAUSES_SHOWN = 20


def ending_sections(trials: Sequence[TrialRecord]) -> Iterator[Section]:
    """Yield the sections on the endings of the trials and on failures; nothing without trials."""
    counted = endings(trials)
    if not counted:
        return
    drawn = Chart(
        name="endings",
        draw=lambda style: endings_chart(counted, style),
        description=", ".join(f"{each.ending}: {each.trials}" for each in counted),
    )
    yield Section(title=_endings_title(counted), note="", items=(drawn,))
    groups = failure_groups(trials)
    if groups:
        yield _failures(groups)


def _endings_title(counted: Sequence[EndingCount]) -> str:
    total = sum(each.trials for each in counted)
    complete = sum(each.trials for each in counted if each.ending == "complete")
    failed = sum(each.trials for each in counted if each.ending.startswith("failed"))
    return f"{complete} of {total} trials are complete, {failed or 'none'} failed"


def _failures(groups: Sequence[FailureGroup]) -> Section:
    ended, retried = (sum(len(getattr(group, name)) for group in groups) for name in ("ended", "retried"))
    rows = tuple(
        (printable(group.cause), group.kind, _numbers(group.ended), _numbers(group.retried))
        for group in groups[:_CAUSES_SHOWN]
    )
    table = Table(header=("cause", "kind", "ended trials", "retried trials"), rows=rows)
    logs: tuple[Item, ...] = tuple(
        Details(
            summary=f"Log of trial {group.excerpt_of}: {printable(group.cause)}", items=(Text(content=group.excerpt),)
        )
        for group in groups[:_CAUSES_SHOWN]
        if group.excerpt
    )
    left = len(groups) - _CAUSES_SHOWN
    more = f" {left} rarer causes are left out." if left > 0 else ""
    causes = "one cause" if len(groups) == 1 else f"{len(groups)} causes"
    return Section(
        title=f"{causes[0].upper()}{causes[1:]} ended {ended} trials; {retried} attempts were retried",
        note=f"Causes that differ only in numbers are one. Each log excerpt is the end of a trainer's log.{more}",
        items=(table, *logs),
    )


def _numbers(trials: Sequence[int]) -> str:
    """List trial numbers, each once, with the number of its failures if it is above one."""
    counts = {trial: trials.count(trial) for trial in trials}
    texts = [f"{trial}" if number == 1 else f"{trial} ({number} times)" for trial, number in counts.items()]
    left = len(texts) - _NUMBERS_SHOWN
    return ", ".join(texts[:_NUMBERS_SHOWN]) + (f" and {left} more" if left > 0 else "")
