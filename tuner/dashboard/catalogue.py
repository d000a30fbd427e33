"""Find the studies to show, and read each again when it has changed."""

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from optuna.storages import BaseStorage

from tuner.dashboard.facts import read_facts
from tuner.dashboard.own_notes import NO_NOTE, OwnNote, own_notes, own_part, save
from tuner.dashboard.view import Numbers, StudyView, study_view, unreadable_view
from tuner.exceptions import StorageError, TunerError
from tuner.storage.database import open_storage, translated
from tuner.storage.urls import sqlite_path, sqlite_url
from tuner.study import StoredStudy, StudyDatabase, StudyPaths

FRESH_S = 2.0
"""Age up to which a view is shown without a look at the study, in seconds."""
_QUIET_S = 15.0
"""The same for a study on a server that nobody drives."""
STALE_S = 10.0
"""Age from which a driven study is read again even if its files have not changed: its driver may have died."""
_MAX_TRIALS = 1_000_000
"""Trials of a study that have numbers of their own in the dashboard."""
_HASH_DIGITS = 5

Signature = tuple[tuple[int, int], ...]


@dataclass(kw_only=True, slots=True)
class _Entry:
    """Study that the dashboard shows."""

    name: str
    database: StudyDatabase
    paths: StudyPaths
    numbers: Numbers
    study: StoredStudy | None = None
    """The study with the trials that have been read; None if it could not be read."""
    view: StudyView | None = None
    read_s: float = 0.0
    """Time of the monotonic clock at which the view was read."""
    checked_s: float = 0.0
    """Time of the monotonic clock at which the view was last known to be current."""
    signature: Signature | None = None


class Catalogue:
    """Studies of a home and of a database, by the numbers that the dashboard uses; safe for threads.

    Reads one study at a time, and no longer than a query takes: SQLite's readers do not block the driver.
    """

    def __init__(self, home: Path, storage: str | None = None, only: str | None = None) -> None:
        """Show the studies below `home` and those of the database `storage`.

        Args:
            home: Folder that holds the studies.
            storage: URL of a database with further studies; None for none.
            only: Name of the only study to show; None for all.
        """
        self._home = home.absolute()
        self._shared = None if storage is None else StudyDatabase(storage)
        self._only = only
        self._entries: dict[int, _Entry] = {}
        self._found_s = -math.inf
        self._lock = RLock()

    def views(self) -> list[StudyView]:
        """Return the views of all studies, ordered by name."""
        with self._lock:
            self._find()
            entries = sorted(self._entries.values(), key=lambda entry: entry.name)
            return [_current(entry) for entry in entries]

    def names(self) -> list[str]:
        """Return the names of all studies."""
        with self._lock:
            self._find()
            return sorted(entry.name for entry in self._entries.values())

    def view(self, study: int) -> StudyView:
        """Return the view of a study.

        Raises:
            KeyError: There is no study of this number.
        """
        with self._lock:
            if study not in self._entries:
                self._find()
            return _current(self._entries[study])

    def view_of_trial(self, trial: int) -> StudyView:
        """Return the view of the study that a trial belongs to.

        Raises:
            KeyError: There is no such study.
        """
        first = trial - trial % _MAX_TRIALS
        with self._lock:
            found = [number for number, entry in self._entries.items() if entry.numbers.first_trial == first]
            if not found:
                raise KeyError(trial)
            return self.view(found[0])

    def save_note(self, study: int, trial: int | None, version: int, text: str) -> bool:
        """Store a note of a user on a study or a trial; return False if another note was saved in the meantime.

        Args:
            study: Number of the study.
            trial: Number of the trial in the dashboard; None for a note on the study.
            version: Version of the note, one above the one that the user saw.
            text: Note as the user saw and changed it.

        Raises:
            KeyError: There is no such study or trial.
            StorageError: The database cannot be written.
        """
        with self._lock:
            self.view(study)
            entry = self._entries[study]
            if entry.study is None:
                raise KeyError(study)
            url = entry.database.url
            entry.checked_s = entry.read_s = -math.inf
            number = None if trial is None else trial - entry.numbers.first_trial
            with translated(url), _storage(url) as storage:
                return _saved(storage, entry.name, number, OwnNote(version=version, text=own_part(text)))

    def study_number(self, name: str) -> int:
        """Return the number of a study.

        Raises:
            KeyError: There is no study of this name.
        """
        with self._lock:
            self._find()
            return {entry.name: number for number, entry in self._entries.items()}[name]

    def _find(self) -> None:
        """Add studies that are new, and forget those that are gone.

        Raises:
            StorageError: The database cannot be used, and no study is known yet.
        """
        now = time.monotonic()
        if now - self._found_s < FRESH_S:
            return
        try:
            databases = self._databases()
        except StorageError:
            if not self._entries:
                raise
            return  # the views say why they cannot be read
        self._found_s = now
        for number, entry in list(self._entries.items()):
            if entry.name not in databases or databases[entry.name].url != entry.database.url:
                del self._entries[number]
        known = {entry.name for entry in self._entries.values()}
        for name in sorted(set(databases) - known):
            self._add(name, databases[name])

    def _add(self, name: str, database: StudyDatabase) -> None:
        number = _number(name)
        while number in self._entries:
            number += 1
        taken = {entry.numbers.first_trial for entry in self._entries.values()}
        first = next(place for place in range(0, _MAX_TRIALS**2, _MAX_TRIALS) if place not in taken)
        numbers = Numbers(study=number, first_trial=first)
        self._entries[number] = _Entry(
            name=name, database=database, paths=StudyPaths(self._home / name), numbers=numbers
        )

    def _databases(self) -> dict[str, StudyDatabase]:
        """Return the database of each study to show."""
        found = {file.parent.name: StudyDatabase(sqlite_url(file)) for file in self._home.glob("*/study.db")}
        if self._shared is not None:
            found |= dict.fromkeys(self._shared.names(), self._shared)
        return {name: database for name, database in found.items() if self._only in (None, name)}


def _number(name: str) -> int:
    """Return a number that a study keeps from one start of the dashboard to the next, for links to it."""
    return int(hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_HASH_DIGITS], 16) + 1


def _current(entry: _Entry) -> StudyView:
    """Return the view of an entry; read the study again if it may have changed."""
    now = time.monotonic()
    if entry.view is not None and now - entry.checked_s < FRESH_S:
        return entry.view
    signature = _signature(entry)
    if entry.view is None or not _may_keep(entry, signature, now - entry.read_s):
        entry.view = _read(entry)
        entry.read_s, entry.signature = now, signature
    entry.checked_s = time.monotonic()
    return entry.view


def _may_keep(entry: _Entry, signature: Signature | None, age_s: float) -> bool:
    """Check whether the view of an entry, read that long ago, is still true."""
    if entry.view is None or entry.view.facts is None:  # one that could not be read is tried again
        return False
    is_driven = entry.view.facts.driver is not None
    if signature is None:
        return not is_driven and age_s < _QUIET_S
    return signature == entry.signature and not (is_driven and age_s > STALE_S)


def _signature(entry: _Entry) -> Signature | None:
    """Return sizes and times of the files that change with a study; None for a database on a server."""
    database = sqlite_path(entry.database.url)
    if database is None:
        return None
    # Not the study's folder itself: SQLite creates and removes files there while the study is read.
    paths = entry.paths
    files = (database, database.with_name(f"{database.name}-wal"), paths.timeline, paths.params, paths.root / "preview")
    return tuple(_size_and_time(file) for file in files)


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _read(entry: _Entry) -> StudyView:
    try:
        if entry.study is None:
            entry.study = _opened(entry)
        return study_view(read_facts(entry.study, entry.paths), entry.numbers)
    except TunerError as error:
        problem = str(error)
    except (KeyError, TypeError, ValueError) as error:  # one damaged record must not hide the other studies
        problem = f"its record is damaged ({type(error).__name__})"
    finally:
        if sqlite_path(entry.database.url) is not None:
            entry.database.close()  # hundreds of studies must not keep hundreds of files open
    entry.study = None
    return unreadable_view(entry.name, problem, entry.numbers)


@contextmanager
def _storage(url: str) -> Iterator[BaseStorage]:
    """Open Optuna's storage to write to it."""
    storage = open_storage(url)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _saved(storage: BaseStorage, name: str, number: int | None, note: OwnNote) -> bool:
    """Store a note on a study or on the trial of this number, if it is the next version."""
    study = storage.get_study_id_from_name(name)
    trial = None if number is None else storage.get_trial_id_from_study_id_trial_number(study, number)
    before = own_notes(storage.get_study_system_attrs(study)).get(trial, NO_NOTE)
    if note.version != before.version + 1:
        return False
    save(storage, study, trial, note)
    return True


def _opened(entry: _Entry) -> StoredStudy:
    StudyPaths.of(entry.paths.root.parent, entry.name)  # refuses a folder that links out of the home
    return StoredStudy(entry.database, entry.name, entry.paths.root)
