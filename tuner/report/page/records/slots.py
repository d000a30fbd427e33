"""Record what each slot did over time, and how much of it was training."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.study import Span


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotBar:
    """Time in which one slot worked on one run."""

    span: Span
    ended_s: float
    """End of the bar, in seconds since 1970; if no end is recorded, the time of the last sign of the study."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Work of all slots."""

    began_s: float
    ended_s: float
    bars: tuple[SlotBar, ...]
    busy: tuple[tuple[int, float], ...]
    """Share of the time in which each slot worked, by the number of the slot."""


def slots_of(spans: Sequence[Span]) -> Slots | None:
    """Return the work of the slots; None if nothing is recorded."""
    if not spans:
        return None
    began = min(span.began_s for span in spans)
    ended = max(max(span.began_s, span.ended_s or 0.0) for span in spans)
    bars = tuple(SlotBar(span=s, ended_s=ended if s.ended_s is None else s.ended_s) for s in spans)
    slots = sorted({span.slot for span in spans})
    worked = {slot: sum(b.ended_s - b.span.began_s for b in bars if b.span.slot == slot) for slot in slots}
    busy = tuple((slot, worked[slot] / (ended - began) if ended > began else 0.0) for slot in slots)
    return Slots(began_s=began, ended_s=ended, bars=bars, busy=busy)
