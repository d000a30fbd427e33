"""Define the result of a check."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tuner.contract import Table

_LOG_LINES = 30


class Status(StrEnum):
    """End of a check."""

    PASSED = "passed"
    PROBLEM = "PROBLEM"
    UNFINISHED = "UNFINISHED"
    """The check itself failed: an error, a crash, or its time was over."""
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """Result of one check on one device."""

    name: str
    device: str
    """Device by torch's name; several are separated by commas."""
    status: Status
    seconds: float
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Results that are wrong, or why the check did not finish or was skipped, one line each."""
    log: str = ""
    """Last lines of the log of a check that did not finish."""

    @property
    def is_good(self) -> bool:
        """True unless something is wrong, or the check did not end."""
        return self.status in (Status.PASSED, Status.SKIPPED)


def last_lines(folder: Path) -> str:
    """Return the last lines of the newest log in a folder, or below it."""
    logs = sorted(folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)
    text = logs[-1].read_text(encoding="utf-8", errors="replace") if logs else ""
    return "\n".join(text.splitlines()[-_LOG_LINES:])
