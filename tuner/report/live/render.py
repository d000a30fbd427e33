"""Turn a snapshot into the lines of the live view; what does not fit into the terminal is left out, never wrapped."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from tuner.report.live.snapshot import PhaseBar, RunRow, Snapshot
from tuner.system.printable import printable

_WIDE = 110
"""Width of a terminal, in columns, from which loss, memory and device of a run are shown too."""
_PHASE_BAR, _NARROW_PHASE_BAR = 24, 12
_RUN_BAR = 10
"""Widths of bars, in columns."""
_LONGEST_DEVICE = 20
_GAP = "  "


def rendered(snapshot: Snapshot, *, width: int, height: int, ascii_only: bool = False) -> Group:
    """Return the live view for a terminal.

    It takes at most `height - 1` lines, so that the terminal never scrolls. A low terminal drops events first, then
    runs, then the phases that are not current and the best result.

    Args:
        snapshot: Progress to show.
        width: Width of the terminal, in columns.
        height: Height of the terminal, in lines.
        ascii_only: True for terminals whose encoding lacks the characters of bars.
    """
    bars = _Bars(full="#", rest="-") if ascii_only else _Bars(full="━", rest="─")
    lines = _fitting(
        max(height - 1, 1),
        events=[Text(printable(event), style="dim") for event in snapshot.events],
        table=_table(snapshot, bars, is_wide=width >= _WIDE),
        best=[Text(f"best   {printable(snapshot.best)}", style="bold")] if snapshot.best else [],
        phases=_phases(snapshot, bars, _PHASE_BAR if width >= _WIDE else _NARROW_PHASE_BAR),
        current=snapshot.current,
        times=_times(snapshot),
    )
    for line in lines:
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return Group(*lines)


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bars:
    """Characters of progress bars; they differ, so that a bar can be read without colours."""

    full: str
    rest: str

    def drawn(self, share: float, width: int) -> Text:
        full = round(min(max(share, 0.0), 1.0) * width)
        return Text().append(self.full * full, style="green").append(self.rest * (width - full), style="dim")


def _fitting(
    height: int,
    *,
    events: Sequence[Text],
    table: Sequence[Text],
    best: Sequence[Text],
    phases: Sequence[Text],
    current: int,
    times: Sequence[Text],
) -> list[Text]:
    """Choose the lines that fit into the height, in their order on the screen."""
    shown_phases = phases[current : current + 1]
    free = height - len(times) - len(shown_phases)
    num_rows = min(len(table), 2) if free >= 2 else 0  # a header without a row says nothing
    free -= num_rows
    if len(phases) - len(shown_phases) <= free:
        free -= len(phases) - len(shown_phases)
        shown_phases = phases
    shown_best = best if len(best) <= free else []
    free -= len(shown_best)
    more_rows = min(max(free, 0), len(table) - num_rows) if num_rows else 0
    free -= more_rows
    shown_events = events[-free:] if free > 0 else []
    rows = _first_of(table, num_rows + more_rows)
    return [*shown_events, *rows, *shown_best, *shown_phases, *times][-height:]


def _first_of(table: Sequence[Text], number: int) -> list[Text]:
    """Return the first lines of the table; if some are left out, the last one says how many runs."""
    if number >= len(table) or number < 3:
        return list(table[:number])
    return [*table[: number - 1], Text(f"and {len(table) - number + 1} more", style="dim")]


def _phases(snapshot: Snapshot, bars: _Bars, bar_width: int) -> list[Text]:
    widest = max((len(phase.name) for phase in snapshot.phases), default=0)
    return [
        _phase(phase, widest, bars.drawn(phase.share, bar_width), is_current=number == snapshot.current)
        for number, phase in enumerate(snapshot.phases)
    ]


def _phase(phase: PhaseBar, widest: int, bar: Text, *, is_current: bool) -> Text:
    line = Text()
    line.append(f"{phase.name:{widest}}{_GAP}", style="bold" if is_current else "dim")
    line.append_text(bar)
    # A phase that has not ended never shows 100 %.
    return line.append(f" {int(phase.share * 100):3} %{_GAP}{printable(phase.text)}")


def _times(snapshot: Snapshot) -> list[Text]:
    elapsed = None if snapshot.elapsed_s is None else f"{duration(snapshot.elapsed_s)} so far"
    left = None if snapshot.left_s is None else f"about {duration(snapshot.left_s)} left in total"
    times = ", ".join(filter(None, (elapsed, left)))
    notice = [Text(printable(snapshot.notice), style="yellow")] if snapshot.notice else []
    return [*notice, Text(times, style="bold")] if times else notice


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    name: str
    cell: Callable[[RunRow], Text]
    is_extra: bool = False
    """True for a column of wide terminals only."""
    is_left: bool = False


def _table(snapshot: Snapshot, bars: _Bars, *, is_wide: bool) -> list[Text]:
    """Return the header and a line for each run; nothing without runs."""
    if not snapshot.runs:
        return []
    columns = [column for column in _columns(snapshot.metric, bars) if is_wide or not column.is_extra]
    cells = [[Text(column.name, style="dim"), *map(column.cell, snapshot.runs)] for column in columns]
    shown = [(column, of) for column, of in zip(columns, cells, strict=True) if any(cell.plain for cell in of[1:])]
    return [Text(_GAP).join(row) for row in zip(*(_aligned(column, of) for column, of in shown), strict=True)]


def _aligned(column: _Column, cells: Sequence[Text]) -> list[Text]:
    widest = max(cell_len(cell.plain) for cell in cells)
    for cell in cells:
        padding = widest - cell_len(cell.plain)
        if column.is_left:
            cell.pad_right(padding)
        else:
            cell.pad_left(padding)
    return list(cells)


def _columns(metric: str, bars: _Bars) -> list[_Column]:
    return [
        _Column(name="trial", cell=lambda run: Text(run.label, style="bold")),
        _Column(name="slot", cell=lambda run: _number(run.slot, "d")),
        _Column(name="epoch", cell=_epoch),
        _Column(name="in epoch", cell=lambda run: _within(run, bars), is_left=True),
        _Column(name=metric, cell=lambda run: _number(run.metric, ".4f")),
        _Column(name="loss", cell=lambda run: _number(run.loss, ".3g"), is_extra=True),
        _Column(name="s/epoch", cell=lambda run: _number(run.epoch_s, ".1f")),
        _Column(name="GiB", cell=lambda run: _number(run.memory_gib, ".1f"), is_extra=True),
        _Column(
            name="device", cell=lambda run: Text(printable(run.device)[:_LONGEST_DEVICE]), is_extra=True, is_left=True
        ),
        _Column(name="differs from the default in", cell=lambda run: Text(printable(run.changes)), is_left=True),
    ]


def _number(value: float | None, form: str) -> Text:
    return Text("" if value is None else f"{value:{form}}")


def _epoch(run: RunRow) -> Text:
    """Return the running epoch and the last one."""
    return Text(f"{min(run.epoch + 1, run.epochs)}/{run.epochs}")


def _within(run: RunRow, bars: _Bars) -> Text:
    return Text() if run.within is None else bars.drawn(run.within, _RUN_BAR)
