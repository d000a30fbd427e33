"""Lay out the studies of a queue as a table."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import RenderableType

from tuner.report.long_table import LongTable
from tuner.system.printable import printable

_COLUMNS = ("study", "state", "GPUs", "priority", "owner", "since", "note")


def queue_table(entries: Sequence[Mapping[str, Any]], now: float) -> RenderableType:
    """Return a table of the studies of a queue, or a line if there are none.

    Args:
        entries: Studies as `tuner.study_queue.entries.Entry.described` describes them.
        now: Time in seconds since 1970.
    """
    if not entries:
        return "the queue is empty; `tune submit` adds a study"
    return LongTable(_COLUMNS, [_row(entry, now) for entry in entries], right=frozenset({"priority", "since"}))


def _row(entry: Mapping[str, Any], now: float) -> tuple[str, ...]:
    since = entry["ended"] or (entry["started"] if entry["state"] == "running" else entry["submitted"])
    most = "all" if entry["most"] is None else str(entry["most"])
    return (
        printable(entry["study"]),
        entry["state"],
        f"{entry['granted']} of {most}",
        str(entry["priority"]),
        printable(entry["owner"]),
        str(timedelta(seconds=max(0, round(now - since)))),
        _note(entry),
    )


def _note(entry: Mapping[str, Any]) -> str:
    """Return what the user should know, from the last driver."""
    if entry["state"] == "done" or not entry["message"]:
        return f"started {entry['starts']} times" if entry["starts"] > 1 else ""
    code = "" if entry["code"] is None else f"exit code {entry['code']}: "
    return printable(f"{code}{entry['message']}")
