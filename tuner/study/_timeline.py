"""Record what each slot trained and when, for people and the report; no decision depends on it."""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuner.contract import EndRecord, EpochRecord, Record, StartedRecord

LOST = "lost"
"""Ending of an attempt whose process or machine was lost."""
INTERRUPTED = "interrupted"
"""Ending of an attempt that was cut off without an end record."""
DECIDED = "decided"
"""Ending of an attempt that the driver stopped: the trial was pruned or paused, or the run ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Attempt at a run: the time that one slot spent on it."""

    phase: str
    """Phase of the study: "search", "re-evaluation" or "final run"."""
    trial: int
    seed: int
    slot: int
    """Number of the slot among those of one driver, 0-based."""
    began_s: float
    """Time at which the slot got the run, in seconds since 1970."""
    ended_s: float | None = None
    """None if the end is not recorded: the attempt is running, or its driver was killed."""
    device: str = ""
    """Device, as the trainer names it; empty if the trainer did not start."""
    from_epoch: int = 1
    to_epoch: int = 0
    """Epochs that the attempt trained, 1-based and inclusive; `to_epoch` is below `from_epoch` if there were none."""
    ending: str = ""
    """Outcome of the end record, `LOST`, `INTERRUPTED` or `DECIDED`; empty without an end."""


class OpenSpan:
    """Attempt that is running; writes its end once."""

    def __init__(self, slot: int, end: Callable[..., None]) -> None:
        self.slot = slot
        self._end: Callable[..., None] | None = end
        self._device = ""
        self._epoch = 0
        self._ending = ""

    def note(self, record: Record) -> None:
        """Follow a record of the trainer."""
        if isinstance(record, StartedRecord):
            self._device = record.device
        elif isinstance(record, EpochRecord):
            self._epoch = max(self._epoch, record.epoch)
        elif isinstance(record, EndRecord):
            self._ending = record.outcome.value

    def end(self, otherwise: str) -> None:
        """Write the end; only the first call has an effect.

        Args:
            otherwise: Ending to write if no end record came.
        """
        if self._end is not None:
            self._end(device=self._device, epoch=self._epoch, ending=self._ending or otherwise)
            self._end = None


class Timeline:
    """Timeline of a study, in a file that is only appended to; what cannot be written is left out."""

    def __init__(self, file: Path, now_s: Callable[[], float] = time.time) -> None:
        self._file = file
        self._now_s = now_s

    def begin(self, phase: str, trial: int, seed: int, slot: int) -> OpenSpan:
        """Write that a slot starts an attempt at a run."""
        key = uuid.uuid4().hex
        self._write(begin=key, at=self._now_s(), phase=phase, trial=trial, seed=seed, slot=slot)
        return OpenSpan(slot, lambda **facts: self._write(end=key, at=self._now_s(), **facts))

    def _write(self, **event: Any) -> None:
        # Without sync: a lost line costs the report a bar.
        with contextlib.suppress(OSError), self._file.open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(event)}\n")


def read_timeline(file: Path) -> tuple[Span, ...]:
    """Return the spans of a study in the order of their starts; none if there is no file.

    Lines that a crash cut off are skipped.
    """
    opened: dict[str, dict[str, Any]] = {}
    for event in _events(file):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if "begin" in event:
                opened[str(event["begin"])] = {
                    "phase": str(event["phase"]),
                    **{name: int(event[name]) for name in ("trial", "seed", "slot")},
                    "began_s": float(event["at"]),
                }
            else:
                ended = {"ended_s": float(event["at"]), "device": str(event["device"]), "ending": str(event["ending"])}
                opened[str(event["end"])].update(ended, to_epoch=int(event["epoch"]))
    return tuple(_numbered(opened.values()))


def _numbered(spans: Iterable[dict[str, Any]]) -> Iterator[Span]:
    """Yield spans whose epochs start where the last attempt at the same run ended: trainers repeat old records."""
    reached: dict[tuple[str, int, int], int] = {}
    for facts in sorted(spans, key=lambda facts: facts["began_s"]):
        run = (facts["phase"], facts["trial"], facts["seed"])
        before = reached.get(run, 0)
        yield Span(**{**facts, "from_epoch": before + 1, "to_epoch": max(facts.get("to_epoch", 0), before)})
        reached[run] = max(before, facts.get("to_epoch", 0))


def _events(file: Path) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(OSError):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield event
