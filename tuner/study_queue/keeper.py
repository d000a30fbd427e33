"""Start the drivers of a queue, grant them devices, and start again those that were lost."""

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from tuner.study_queue.entries import Entry, State
from tuner.study_queue.shares import Claim, shares
from tuner.study_queue.table import QueueTable

MOST_FAILURES = 10
"""Drivers of a study that may fail in a row, each soon after its start, before the study is given up."""

LONG_S = 600.0
"""Time in seconds after which a driver that is lost has not failed soon after its start."""

_LONGEST_WAIT_S = 300.0


class Fate(StrEnum):
    """State of a driver's job, as far as the cluster knows it."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"
    """The cluster does not answer."""


class Jobs(Protocol):
    """Drivers as jobs of a cluster."""

    def start(self, entry: Entry, job: str) -> None:
        """Start the driver of an entry under the name of a job. A job of this name that exists is not started again."""

    def fate(self, job: str) -> Fate:
        """Return what has become of a job."""


class Keeper:
    """The one process that looks after a queue. Its state is in the table, so another can take its place at any time.

    It chooses how many devices each study may hold. Ray chooses which.
    """

    def __init__(
        self, table: QueueTable, jobs: Jobs, devices: Callable[[], int], clock: Callable[[], float] = time.time
    ) -> None:
        """Prepare to keep a queue.

        Args:
            table: The queue.
            jobs: Drivers of the cluster.
            devices: Function that returns the number of devices of the cluster.
            clock: Time in seconds since 1970.
        """
        self._table = table
        self._jobs = jobs
        self._devices = devices
        self._clock = clock

    def turn(self) -> None:
        """Look at all studies once, and do what is due.

        Raises:
            StorageError: The database cannot be used; the next turn tries again.
        """
        for entry in self._table.entries():
            if entry.state == State.RUNNING and self._jobs.fate(entry.job) == Fate.GONE:
                self._restart(entry)
        entries = self._table.entries()
        now = self._clock()
        ready = [entry for entry in entries if entry.state == State.RUNNING or entry.not_before <= now]
        claims = [Claim(entry.number, entry.submission.priority, entry.most) for entry in ready]
        granted = shares(claims, self._devices())
        # Devices are taken away before others get them. Until a study has given them up, Ray makes the others wait.
        for entry in sorted(entries, key=lambda entry: granted.get(entry.number, 0) - entry.granted):
            number = granted.get(entry.number, 0)
            if entry.state == State.RUNNING:
                if number != entry.granted:
                    self._table.change(entry, granted=number)
            elif number:
                self._start(entry, number)

    def _start(self, entry: Entry, granted: int) -> None:
        """Start a driver. Its name is recorded first, so that after a crash nobody starts it twice."""
        job = f"tune-{entry.number}-{entry.starts + 1}"
        values = {"state": State.RUNNING.value, "job": job, "starts": entry.starts + 1, "granted": granted}
        if self._table.change(entry, **values, wanted=None, started=self._clock()):
            self._jobs.start(entry, job)

    def _restart(self, entry: Entry) -> None:
        """Queue a study whose driver is gone without a word: its process or machine was lost."""
        change_after_failure(self._table, entry, code=None, message="its driver was lost", now=self._clock())


def change_after_failure(table: QueueTable, entry: Entry, *, code: int | None, message: str, now: float) -> None:
    """Record that a driver ended for a reason that may pass: queue the study again, or give it up.

    Args:
        table: The queue.
        entry: Study whose driver has ended.
        code: Exit code of the driver; None if it is not known.
        message: Last line of the driver.
        now: Time in seconds since 1970.
    """
    failures = 1 if now - entry.started >= LONG_S else entry.failures + 1
    if entry.is_stopping:
        table.change(entry, state=State.STOPPED.value, code=code, message=message, ended=now, granted=0)
    elif failures >= MOST_FAILURES:
        table.change(entry, state=State.FAILED.value, code=code, message=message, ended=now, granted=0)
    else:
        wait_s = min(_LONGEST_WAIT_S, 2.0 ** (failures - 1)) if failures > 1 else 0.0
        table.change(
            entry,
            state=State.QUEUED.value,
            failures=failures,
            not_before=now + wait_s,
            code=code,
            message=message,
            granted=0,
        )
