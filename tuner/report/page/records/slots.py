"""Record what each slot did over time, and how much of the time it worked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from optuna.trial import TrialState

from tuner.contract import Outcome
from tuner.study import DECIDED, INTERRUPTED, LOST, Span, TrialRecord

_BREAK_S = 300.0
"""Time without any work on any slot, in seconds, from which on the study counts as paused rather than idle."""


class Work(StrEnum):
    """Result of an attempt at a run."""

    COMPLETE = "complete"
    PAUSED = "paused"
    STOPPED = "stopped early"
    FAILED = "failed"
    CUT_OFF = "cut off"
    """The process, the machine or the driver was lost or stopped, or no end is recorded."""
    RUNNING = "running"


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotBar:
    """Attempt at a run, on the clock of `Slots`."""

    span: Span
    work: Work
    is_retry: bool
    """True if the attempt before failed or was cut off; a resumed trial that had been paused is not retried."""
    began_s: float
    ended_s: float
    """Start and end in seconds of running time. Without a recorded end, the last sign of the driver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """Time in which no slot worked because the study was not driven."""

    at_s: float
    """Position in seconds of running time."""
    lasted_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseWork:
    """Work in one phase of the study."""

    phase: str
    began_s: float
    ended_s: float
    """Start and end in seconds of running time."""
    spans: int
    slots: int
    """Number of slots that worked in the phase."""
    worked_s: float
    """Working time of all slots, in seconds."""

    @property
    def busy(self) -> float:
        """Working time of the slots of this phase as a share of its duration, 0..1."""
        return _share(self.worked_s, (self.ended_s - self.began_s) * self.slots)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Work of all slots, on a clock that stops while the study is not driven; it starts at 0."""

    bars: tuple[SlotBar, ...]
    breaks: tuple[Break, ...]
    phases: tuple[PhaseWork, ...]
    ended_s: float
    busy: tuple[tuple[int, float], ...]
    """Share of the first phase in which each slot worked, 0..1, by the number of the slot. In later phases, slots can
    be idle because there is no more to do."""


def slots_of(spans: Sequence[Span], trials: Sequence[TrialRecord] = ()) -> Slots | None:
    """Return the work of the slots; None if nothing is recorded.

    A trial that waits occupies no slot, so it has no bar.
    """
    if not spans:
        return None
    ordered = sorted(spans, key=lambda span: span.began_s)
    ends = _ends(ordered)
    gaps = list(_gaps(ordered, ends))
    origin = ordered[0].began_s

    def running_s(at_s: float) -> float:
        return at_s - origin - sum(min(max(at_s - began, 0.0), ended - began) for began, ended in gaps)

    retries = list(_retries(ordered))
    last = {_run(span): i for i, span in enumerate(ordered)}
    states = {trial.number: trial.state for trial in trials}
    bars = tuple(
        SlotBar(
            span=span,
            work=_work(span, is_last=last[_run(span)] == i, state=states.get(span.trial)),
            is_retry=retries[i],
            began_s=running_s(span.began_s),
            ended_s=running_s(ends[i]),
        )
        for i, span in enumerate(ordered)
    )
    phases = tuple(_phases(bars))
    return Slots(
        bars=bars,
        breaks=tuple(Break(at_s=running_s(began), lasted_s=ended - began) for began, ended in gaps),
        phases=phases,
        ended_s=max(bar.ended_s for bar in bars),
        busy=tuple(_busy(bars, phases[0])),
    )


def _ends(ordered: Sequence[Span]) -> list[float]:
    """Return the end of each span; without one, the last sign of its driver.

    A driver that was killed leaves open spans. The first start on a slot that is still occupied shows that the driver
    is a new one: all that was open had ended before, at the latest at the last event until then.
    """
    events = sorted([(s.began_s, True, i) for i, s in enumerate(ordered)]
                    + [(s.ended_s, False, i) for i, s in enumerate(ordered) if s.ended_s is not None])  # fmt: skip
    ends = [span.ended_s for span in ordered]
    is_open: dict[int, int] = {}
    last_s = ordered[0].began_s
    for at_s, is_start, i in events:
        slot = ordered[i].slot
        if is_start and slot in is_open:
            for other in is_open.values():
                ends[other] = last_s
            is_open.clear()
        if is_start and ordered[i].ended_s is None:
            is_open[slot] = i
        last_s = at_s
    return [last_s if end is None else end for end in ends]


def _gaps(ordered: Sequence[Span], ends: Sequence[float]) -> Iterator[tuple[float, float]]:
    """Yield start and end of the breaks in which nothing worked."""
    reached = ends[0]
    for span, end in zip(ordered, ends, strict=True):
        if span.began_s - reached > _BREAK_S:
            yield reached, span.began_s
        reached = max(reached, end)


def _retries(ordered: Sequence[Span]) -> Iterator[bool]:
    failed: dict[tuple[str, int, int], bool] = {}
    for span in ordered:
        yield failed.get(_run(span), False)
        failed[_run(span)] = _own_ending(span) in (Work.FAILED, Work.CUT_OFF)


def _run(span: Span) -> tuple[str, int, int]:
    return span.phase, span.trial, span.seed


def _own_ending(span: Span) -> Work:
    if span.ended_s is None or span.ending in (LOST, INTERRUPTED, Outcome.STOPPED):
        return Work.CUT_OFF
    if span.ending == Outcome.COMPLETED:
        return Work.COMPLETE
    return Work.STOPPED if span.ending in (DECIDED, Outcome.DIVERGED) else Work.FAILED


def _work(span: Span, *, is_last: bool, state: TrialState | None) -> Work:
    """Return the result of an attempt: what the driver stopped was only paused if the trial trained again or waits."""
    own = _own_ending(span)
    is_current = is_last and span.phase == "search"
    if span.ended_s is None and is_current and state == TrialState.RUNNING:
        return Work.RUNNING
    if own != Work.STOPPED or span.ending == Outcome.DIVERGED:
        return own
    return Work.PAUSED if not is_last or (is_current and state == TrialState.WAITING) else Work.STOPPED


def _phases(bars: Sequence[SlotBar]) -> Iterator[PhaseWork]:
    for phase in dict.fromkeys(bar.span.phase for bar in bars):
        own = [bar for bar in bars if bar.span.phase == phase]
        yield PhaseWork(
            phase=phase,
            began_s=min(bar.began_s for bar in own),
            ended_s=max(bar.ended_s for bar in own),
            spans=len(own),
            slots=len({bar.span.slot for bar in own}),
            worked_s=sum(_worked(b for b in own if b.span.slot == slot) for slot in {b.span.slot for b in own}),
        )


def _busy(bars: Sequence[SlotBar], phase: PhaseWork) -> Iterator[tuple[int, float]]:
    for slot in sorted({bar.span.slot for bar in bars}):
        own = (bar for bar in bars if bar.span.slot == slot and bar.span.phase == phase.phase)
        yield slot, _share(_worked(own), phase.ended_s - phase.began_s)


def _worked(bars: Iterator[SlotBar]) -> float:
    """Return the time in which at least one of these bars of one slot worked."""
    worked, reached = 0.0, 0.0
    for bar in sorted(bars, key=lambda bar: bar.began_s):
        worked += max(0.0, bar.ended_s - max(bar.began_s, reached))
        reached = max(reached, bar.ended_s)
    return worked


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
