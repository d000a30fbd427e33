"""Keep the queue in a database, where it outlives every process and every cluster."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Boolean, Column, Float, Integer, MetaData, String, Table, Text

from tuner.exceptions import StorageError, UsageError
from tuner.storage.database import own_tables, translated
from tuner.storage.urls import sqlite_url
from tuner.study_queue.entries import Entry, State, Submission, entry_of

_ENTRIES = Table(
    "tune_queue",
    MetaData(),
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("study", String(64), nullable=False),
    # The study until it is over, then NULL: a study is in the queue once. A partial index would do this too, but SQLite
    # creates it after the table, and another process may write in between.
    Column("active", String(64), unique=True),
    Column("submission", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("is_stopping", Boolean, nullable=False, default=False),
    Column("granted", Integer, nullable=False, default=0),
    Column("wanted", Integer),
    Column("job", String(100), nullable=False, default=""),
    Column("starts", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("code", Integer),
    Column("message", Text, nullable=False, default=""),
    Column("submitted", Float, nullable=False, default=0.0),
    Column("started", Float, nullable=False, default=0.0),
    Column("ended", Float, nullable=False, default=0.0),
)

_IS_ACTIVE = _ENTRIES.c.active.is_not(None)


def queue_url(environment: Mapping[str, str]) -> str:
    """Return the database of the queue: that of the studies, or a file in the folder of the studies."""
    url = environment.get("TUNE_STORAGE")
    return url or sqlite_url(queue_folder(environment) / "queue.db")


def queue_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the queue's files, in that of the studies."""
    return Path(environment.get("TUNE_HOME") or "studies").absolute() / ".queue"


class QueueTable:
    """The queue in one database."""

    def __init__(self, url: str, engine: sqlalchemy.Engine, clock: Callable[[], float] = time.time) -> None:
        """Attach to a database that has the table (see `opened_queue`)."""
        self._url = url
        self._engine = engine
        self._clock = clock

    def add(self, submission: Submission) -> Entry:
        """Append a study to the queue.

        Raises:
            UsageError: The study is in the queue already.
            StorageError: The database cannot be used.
        """
        values = {
            "study": submission.study,
            "active": submission.study,
            "submission": submission.encoded(),
            "state": State.QUEUED.value,
            "submitted": self._clock(),
        }
        try:
            with self._transaction() as connection:
                key = connection.execute(_ENTRIES.insert().values(**values)).inserted_primary_key
        except StorageError as error:
            if not isinstance(error.__cause__, sqlalchemy.exc.IntegrityError):
                raise
            owner = self.latest_of(submission.study).submission.owner
            raise UsageError(
                f"The study '{submission.study}' is in the queue already, submitted by {owner}; stop it with "
                f"`tune stop {submission.study}`, or name another one with --study."
            ) from error
        assert key is not None
        return self.entry(key[0])

    def entry(self, number: int) -> Entry:
        """Return an entry.

        Raises:
            UsageError: There is no entry of this number.
            StorageError: The database cannot be used.
        """
        found = self._found(_ENTRIES.c.number == number)
        if not found:
            raise UsageError(f"The queue has no entry {number}; `tune queue` lists them.")
        return found[0]

    def latest_of(self, study: str) -> Entry:
        """Return the last entry of a study.

        Raises:
            UsageError: The study was never submitted.
            StorageError: The database cannot be used.
        """
        found = self._found(_ENTRIES.c.study == study)
        if not found:
            raise UsageError(f"The study '{study}' is not in the queue; `tune queue --all` lists those that are.")
        return found[-1]

    def entries(self, *, all_of_them: bool = False) -> list[Entry]:
        """Return the entries that are not over, or all of them, in the order of submission."""
        return self._found(sqlalchemy.true() if all_of_them else _IS_ACTIVE)

    def change(self, entry: Entry, **values: Any) -> bool:
        """Change columns of an entry, unless its state or its driver has changed since it was read.

        Returns:
            True if it was changed.
        """
        same = (
            (_ENTRIES.c.number == entry.number)
            & (_ENTRIES.c.state == entry.state.value)
            & (_ENTRIES.c.job == entry.job)
            & (_ENTRIES.c.starts == entry.starts)
        )
        if "state" in values and State(values["state"]).is_over:
            values["active"] = None
        with self._transaction() as connection:
            return connection.execute(_ENTRIES.update().where(same).values(**values)).rowcount == 1

    def stop(self, study: str) -> Entry:
        """Wish that a study stops; one that has no driver stops at once.

        Raises:
            UsageError: The study is not in the queue, or over.
            StorageError: The database cannot be used.
        """
        entry = self.latest_of(study)
        if entry.state.is_over:
            raise UsageError(f"The study '{study}' has ended already: {entry.state.value}.")
        ended = {"state": State.STOPPED.value, "ended": self._clock(), "message": "stopped while no driver ran"}
        if entry.state != State.QUEUED or not self.change(entry, **ended):  # its driver runs, or has started since
            with self._transaction() as connection:
                mine = _ENTRIES.c.number == entry.number
                connection.execute(_ENTRIES.update().where(mine).values(is_stopping=True))
        return self.entry(entry.number)

    def _found(self, condition: Any) -> list[Entry]:
        query = sqlalchemy.select(_ENTRIES).where(condition).order_by(_ENTRIES.c.number)
        with self._transaction() as connection:
            return [entry_of(row) for row in connection.execute(query).mappings()]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlalchemy.Connection]:
        with translated(self._url), self._engine.begin() as connection:
            yield connection


@contextlib.contextmanager
def opened_queue(url: str, clock: Callable[[], float] = time.time) -> Iterator[QueueTable]:
    """Open the queue of a database; create its table, and its file, if they are missing.

    Raises:
        StorageError: The database cannot be used.
    """
    with own_tables(url, [_ENTRIES]) as engine:
        yield QueueTable(url, engine, clock)
