"""Find the studies to show, and read each again when it has changed."""

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

from optuna.storages import BaseStorage

from tuner.dashboard.facts import read_facts
from tuner.dashboard.own_notes import NO_NOTE, OwnNote, own_notes, own_part, save
from tuner.dashboard.view import Numbers, StudyView, study_view, unreadable_view
from tuner.exceptions import StorageError, TunerError
from tuner.storage.database import sqlite_path, sqlite_url, translated
from tuner.study import StoredStudy, StudyPaths, study_names

FRESH_S = 2.0
"""Age up to which a view is shown without a look at the study, in seconds."""
STALE_S = 10.0
"""Age from which a study is read again even if its files have not changed: its driver may have died."""
_MAX_TRIALS = 1_000_000
"""Trials of a study that have numbers of their own in the dashboard."""
_HASH_DIGITS = 5

Signature = tuple[tuple[int, int], ...]


@dataclass(kw_only=True, slots=True)
class _Entry:
    """Study that the dashboard shows."""

    name: str
    url: str
    paths: StudyPaths
    numbers: Numbers
    study: StoredStudy | None = None
    view: StudyView | None = None
    read_s: float = 0.0
    """Time of the monotonic clock at which the view was read."""
    checked_s: float = 0.0
    """Time of the monotonic clock at which the view was last known to be current."""
    signature: Signature = field(default_factory=tuple)


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
        self._storage = storage
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
            entry.checked_s = entry.read_s = -math.inf
            number = None if trial is None else trial - entry.numbers.first_trial
            with translated(entry.url), _session(entry.study) as storage:
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
            urls = self._urls()
        except StorageError:
            if not self._entries:
                raise
            return  # the views say why they cannot be read
        self._found_s = now
        for number, entry in list(self._entries.items()):
            if urls.get(entry.name) != entry.url:
                _close(entry)
                del self._entries[number]
        known = {entry.name for entry in self._entries.values()}
        for name in sorted(set(urls) - known):
            self._add(name, urls[name])

    def _add(self, name: str, url: str) -> None:
        number = _number(name)
        while number in self._entries:
            number += 1
        taken = {entry.numbers.first_trial for entry in self._entries.values()}
        first = next(place for place in range(0, _MAX_TRIALS**2, _MAX_TRIALS) if place not in taken)
        numbers = Numbers(study=number, first_trial=first)
        self._entries[number] = _Entry(name=name, url=url, paths=StudyPaths(self._home / name), numbers=numbers)

    def _urls(self) -> dict[str, str]:
        found = {file.parent.name: sqlite_url(file) for file in self._home.glob("*/study.db")}
        if self._storage is not None:
            found |= dict.fromkeys(study_names(self._storage), self._storage)
        return {name: url for name, url in found.items() if self._only in (None, name)}


def _number(name: str) -> int:
    """Return a number that a study keeps from one start of the dashboard to the next, for links to it."""
    return int(hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_HASH_DIGITS], 16) + 1


def _current(entry: _Entry) -> StudyView:
    """Return the view of an entry; read the study again if it may have changed."""
    now = time.monotonic()
    if entry.view is not None and now - entry.checked_s < FRESH_S:
        return entry.view
    signature = _signature(entry)
    is_same = bool(signature) and signature == entry.signature and now - entry.read_s < STALE_S
    if entry.view is None or not is_same:
        entry.view = _read(entry)
        entry.read_s, entry.signature = (
            now,
            () if entry.study is None else signature,
        )  # an unreadable one is tried again
    entry.checked_s = time.monotonic()
    return entry.view


def _signature(entry: _Entry) -> Signature:
    """Return sizes and times of the files that change with a study; nothing for a database on a server."""
    database = sqlite_path(entry.url)
    if database is None:
        return ()
    files = (database, database.with_name(f"{database.name}-wal"), entry.paths.timeline, entry.paths.params)
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
        with _session(entry.study):
            return study_view(read_facts(entry.study, entry.paths), entry.numbers)
    except TunerError as error:
        problem = str(error)
    except (KeyError, TypeError, ValueError) as error:  # one damaged record must not hide the other studies
        problem = f"its record is damaged ({type(error).__name__})"
    _close(entry)
    return unreadable_view(entry.name, problem, entry.numbers)


@contextmanager
def _session(study: StoredStudy) -> Iterator[BaseStorage]:
    """Use the storage of a study in this thread, and end the transaction and the session that it opens for it."""
    try:
        yield study.storage
    finally:
        study.storage.remove_session()


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
    if entry.name not in study_names(entry.url):  # opening a database without tables would create them
        raise KeyError(entry.name)
    return StoredStudy.open(entry.url, entry.name, entry.paths.root)


def _close(entry: _Entry) -> None:
    if entry.study is not None:
        entry.study.close()
        entry.study = None
