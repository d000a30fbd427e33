"""Read the studies that a user may see: those of the queue, of the database and of the home."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException

from tuner.exceptions import StorageError, TunerError
from tuner.storage.urls import sqlite_url
from tuner.study import StoredStudy, StudyDatabase, StudyPaths, StudySnapshot, checked_study_name
from tuner.study_queue.entries import Entry
from tuner.study_queue.table import QueueTable
from tuner.team_service.fresh import Fresh
from tuner.team_service.progress import Progress, progress_of, unreadable
from tuner.team_service.settings import ServiceSettings
from tuner.team_service.users import User

FRESH_S = 1.0
"""Age up to which what is shown of an active study is not read again, in seconds."""

_QUIET_S = 15.0
"""The same for a study that nobody drives."""

_READING_S = 3.0
"""Time that one list may spend on reading studies, in seconds; 50 are read in that time."""

MOST_COMPARED = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A study as it is listed."""

    name: str
    owner: str | None
    """User who submitted it first; None for a study that was started without the queue."""
    entry: Entry | None
    """Its last entry in the queue."""
    progress: Progress | None
    """None before its driver has created it."""

    @property
    def state(self) -> str:
        """State for people: that in the queue, or that of the record; unknown before that is read."""
        if self.entry is not None and not (self.entry.state.is_over and _is_running(self.progress)):
            return str(self.entry.described()["state"])
        return "unknown" if self.progress is None else self.progress.state

    @property
    def is_over(self) -> bool:
        """True if nothing happens any more until somebody submits or runs the study again."""
        return (self.entry is None or self.entry.state.is_over) and not _is_running(self.progress)

    def described(self) -> dict[str, Any]:
        """Return the fields of the answer about the study."""
        return {
            "name": self.name,
            "owner": self.owner,
            "state": self.state,
            "queue": None if self.entry is None else self.entry.described(),
            "progress": self.progress,
        }


class Studies:
    """All studies. Every method raises StorageError if the database does not answer."""

    def __init__(self, settings: ServiceSettings, table: QueueTable) -> None:
        """Prepare to read the studies of the settings and of the queue."""
        self._settings = settings
        self._table = table
        self._entries: Fresh[Mapping[str, list[Entry]]] = Fresh()
        self._databases: Fresh[Mapping[str, StudyDatabase]] = Fresh()
        self._shared = None if settings.storage is None else StudyDatabase(settings.storage)
        self._progress: Fresh[Progress | None] = Fresh(most=10_000)

    def rows(self, user: User) -> list[Row]:
        """Return the studies that a user may see: first those that are not over, then by name.

        A list of very many is read in parts, the oldest part first. The others are shown as they were when last read.
        """
        until_s = time.monotonic() + _READING_S
        names = sorted(set(self._submitted()) | set(self._recorded()), key=self._progress.read_s)
        found = [self._row(user, name, may_read=time.monotonic() < until_s) for name in names]
        return sorted((row for row in found if row is not None), key=lambda row: (row.is_over, row.name))

    def row(self, user: User, name: str) -> Row:
        """Return one study.

        Raises:
            HTTPException: 404 there is none that the user may see; the answer does not say which of both.
        """
        row = self._row(user, name, may_read=True)
        if row is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no study of this name.")
        return row

    def owner_of(self, name: str) -> str | None:
        """Return who submitted a study first; None if nobody did."""
        entries = self._read_entries().get(name, [])
        return entries[0].submission.owner if entries else None

    def exists(self, name: str) -> bool:
        """Check whether a study of this name was submitted or recorded by anybody."""
        return self.owner_of(name) is not None or name in self._read_recorded()

    def paths(self, row: Row) -> StudyPaths:
        """Return the paths of a study."""
        return StudyPaths.of(self._settings.home, row.name)

    def snapshot(self, row: Row) -> StudySnapshot:
        """Read the record of a study.

        Raises:
            HTTPException: 404 its driver has not created it yet.
        """
        database = self._recorded().get(row.name)
        if database is None or row.progress is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "The study has no record yet; its driver creates it.")
        with self._kept_open(database):
            return StoredStudy(database, row.name, self.paths(row).root).snapshot()

    def _row(self, user: User, name: str, *, may_read: bool) -> Row | None:
        """Return a study; None if there is none that the user may see. Unless it may be read, show what is known."""
        mine, database = self._submitted().get(name, []), self._recorded().get(name)
        entry, owner = (mine[-1], mine[0].submission.owner) if mine else (None, None)
        if (entry is None and database is None) or not user.may_see(owner, is_private=self._settings.is_private):
            return None
        progress = None if database is None else self._progress.known(name)
        if database is not None and may_read:
            is_active = (entry is not None and not entry.state.is_over) or _is_running(progress)
            progress = self._progress_of(name, database, FRESH_S if is_active else _QUIET_S)
        return Row(name=name, owner=owner, entry=entry, progress=progress)

    def _progress_of(self, name: str, database: StudyDatabase, age_s: float) -> Progress | None:
        return self._progress.get(name, age_s, lambda: self._read_progress(name, database))

    def _read_progress(self, name: str, database: StudyDatabase) -> Progress | None:
        """Read a study. What is wrong with one study must not hide the others, but a database that is away must."""
        try:
            with self._kept_open(database):
                if database is not self._shared and name not in database.names():
                    return None
                paths = StudyPaths.of(self._settings.home, name)
                recorded = StoredStudy(database, name, paths.root).snapshot()
                return progress_of(recorded, is_driven=recorded.driver is not None, journal=paths.journal)
        except StorageError as error:
            if database is self._shared:
                raise
            return unreadable(str(error))
        except TunerError as error:
            return unreadable(str(error))
        except (KeyError, TypeError, ValueError) as error:
            return unreadable(f"its record is damaged ({type(error).__name__})")

    def forget_entries(self) -> None:
        """Read the queue again for the next answer, because this process has changed it."""
        self._entries = Fresh()

    def _submitted(self) -> Mapping[str, list[Entry]]:
        """Return the entries of the queue by study, in the order of submission."""
        return self._entries.get("all", FRESH_S, self._read_entries)

    def _read_entries(self) -> Mapping[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self._table.entries(all_of_them=True):
            found.setdefault(entry.submission.study, []).append(entry)
        return found

    @contextlib.contextmanager
    def _kept_open(self, database: StudyDatabase) -> Iterator[None]:
        """Keep connections to the shared database open after the block, and close those to a study's own file."""
        try:
            yield
        finally:
            if database is not self._shared:
                database.close()

    def _recorded(self) -> Mapping[str, StudyDatabase]:
        return self._databases.get("all", FRESH_S, self._read_recorded)

    def _read_recorded(self) -> Mapping[str, StudyDatabase]:
        """Return the databases of the recorded studies by name; names that no study can have are left out."""
        files = self._settings.home.absolute().glob("*/study.db")
        found = {file.parent.name: StudyDatabase(sqlite_url(file)) for file in files}
        if self._shared is not None:
            found |= dict.fromkeys(self._shared.names(), self._shared)
        return {name: database for name, database in found.items() if _is_name(name)}


def _is_name(name: str) -> bool:
    try:
        return checked_study_name(name) == name
    except TunerError:
        return False


def _is_running(progress: Progress | None) -> bool:
    return progress is not None and progress.state == "running"
