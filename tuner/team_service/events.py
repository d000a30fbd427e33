"""Follow a study as a stream of server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tuner.team_service.studies import Row

_ID = re.compile(r"([a-z]{1,16})\.(\d{1,9})\.(\d{1,9})\.(\d{1,12})\.(\d{1,9}|-)")

RETRY_MS = 3000
"""Time after which a browser connects again, in milliseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """All of a study that events are about.

    It is the identity of an event. A client that connects again sends the last one, so that it gets what has changed
    since: from any process, after any time, without a record of what it was sent.
    """

    state: str
    granted: int
    """Devices that it may hold now."""
    ended: int
    """Number of trials that have ended."""
    epochs: int
    """Number of trained epochs of all trials."""
    best: int | None
    """Best trial."""

    @classmethod
    def of(cls, row: Row) -> "Position":
        """Return the position of a study as it is listed."""
        progress = row.progress
        return cls(
            state=row.state,
            granted=0 if row.entry is None or row.entry.state.is_over else row.entry.granted,
            ended=0 if progress is None else progress.ended,
            epochs=0 if progress is None else progress.epochs,
            best=None if progress is None else progress.best_trial,
        )

    @classmethod
    def decoded(cls, text: str) -> "Position | None":
        """Read what `encoded` returned; None for any other text."""
        found = _ID.fullmatch(text)
        if found is None:
            return None
        state, granted, ended, epochs, best = found.groups()
        return cls(
            state=state,
            granted=int(granted),
            ended=int(ended),
            epochs=int(epochs),
            best=None if best == "-" else int(best),
        )

    def encoded(self) -> str:
        """Return the position as the identity of an event."""
        best = "-" if self.best is None else self.best
        return f"{self.state}.{self.granted}.{self.ended}.{self.epochs}.{best}"


def events(before: Position | None, row: Row) -> Iterator[str]:
    """Yield what has changed since a position as events: `state`, `epochs` and `best`, then `end` if the study is over.

    Each event holds all current values of its kind, so a client that missed some has missed nothing.

    Args:
        before: What the client knows; None for nothing.
        row: The study now.
    """
    now = Position.of(row)
    if before is None or (before.state, before.granted) != (now.state, now.granted):
        yield _event("state", now, _state(row, now))
    progress = row.progress
    if progress is not None:
        if before is None or (before.ended, before.epochs) != (now.ended, now.epochs):
            running = [asdict(trial) for trial in progress.running]
            counts = {"epochs": now.epochs, "ended": now.ended, "planned": progress.planned, "running": running}
            yield _event("epochs", now, counts)
        if now.best is not None and (before is None or before.best != now.best):
            yield _event("best", now, {"trial": now.best, "metric": progress.metric, "value": progress.best})
    if row.is_over:
        yield _event("end", now, {"state": now.state})


def _state(row: Row, now: Position) -> dict[str, Any]:
    entry = row.entry
    return {
        "state": now.state,
        "granted": now.granted,
        "most": None if entry is None else entry.submission.most,
        "message": "" if entry is None else entry.message,
    }


def _event(kind: str, position: Position, data: dict[str, Any]) -> str:
    # JSON has no line breaks here, so no text of a study can end the event.
    return f"id: {position.encoded()}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
