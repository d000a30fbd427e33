"""Read studies from their database."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Engine

from tuner.exceptions import UsageError
from tuner.storage.bulk_reading import StudyRow, names_with, read_study, read_trials
from tuner.storage.database import reading_engine, translated
from tuner.storage.lease import holder_in
from tuner.storage.urls import masked, sqlite_path, sqlite_url
from tuner.study._attributes import SPEC, StudyAttributes
from tuner.study._facts import FinalRunFacts, ProfilingFacts
from tuner.study._paths import StudyPaths
from tuner.study._places import found
from tuner.study._records import StudySpec, TrialRecord, trial_record
from tuner.study._snapshot import StudySnapshot
from tuner.system.garbage import collection_paused

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Value that a study optimises."""

    name: str
    maximised: bool


class StudyDatabase:
    """Database with studies, for reading: creates and changes nothing. Safe for threads.

    All studies that it opens share its connections. Every method raises StorageError if the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        """Connect on first use."""
        self.url = url
        self._engine: Engine | None = None
        self._lock = Lock()

    def __enter__(self) -> "StudyDatabase":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def names(self) -> set[str]:
        """Return the names of the studies that tune created; none if nobody has started a study there."""
        with self.connection() as connection:
            return set() if connection is None else names_with(connection, SPEC)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection | None]:
        """Connect to the database within the block, in which its errors are translated; None if it has no studies."""
        with translated(self.url):
            engine = self._opened()
            if engine is None:
                yield None
            else:
                with engine.connect() as connection:
                    yield connection

    def _opened(self) -> Engine | None:
        with self._lock:
            path = sqlite_path(self.url)
            if self._engine is not None and path is not None and not path.exists():  # a connection would create it
                self._engine.dispose()
                self._engine = None
            if self._engine is None:
                self._engine = reading_engine(self.url)
            return self._engine

    def close(self) -> None:
        """Disconnect; the next access connects again."""
        if self._engine is not None:
            self._engine.dispose()


class StoredStudy:
    """Study that is read from its database on every access.

    Every method raises StorageError if the database cannot be used, and UsageError if the study does not exist.
    """

    def __init__(self, database: StudyDatabase, name: str, folder: Path) -> None:
        """Prepare to read a study.

        Args:
            database: Database of the study.
            name: Name of the study.
            folder: Current folder of the study; relative paths in the record start there.
        """
        self.name = name
        self._database = database
        self._folder = folder
        self._number = -1
        """Optuna's number of the study."""
        self._finished: dict[int, tuple[FrozenTrial, TrialRecord]] = {}
        """Finished trials by Optuna's ids: those never change."""
        self._unfinished: set[int] = set()
        """Optuna's ids of the other trials that have been read."""

    @classmethod
    def open(cls, url: str, name: str, folder: Path = Path()) -> "StoredStudy":
        """Open an existing study; create nothing.

        Args:
            url: Database URL.
            name: Name of the study.
            folder: Current folder of the study; relative paths in the record start there.

        Raises:
            UsageError: The study does not exist.
        """
        study = cls(StudyDatabase(url), name, folder)
        study._attributes()  # refuses one that does not exist
        return study

    @classmethod
    def in_folder(cls, folder: Path) -> "StoredStudy":
        """Open a study whose database is in its own folder, as `tune run` creates it.

        Raises:
            UsageError: There is no study with the name of the folder.
        """
        paths = StudyPaths(folder.absolute())
        return cls.open(sqlite_url(paths.database), paths.root.name, paths.root)

    def close(self) -> None:
        """Disconnect from the database; the next access connects again."""
        self._database.close()

    @property
    def url(self) -> str:
        return self._database.url

    @property
    def is_ours(self) -> bool:
        """True if tune created the study; another program's has no spec, and its attributes mean nothing to us."""
        return self._attributes().is_ours

    @property
    def objective(self) -> Objective | None:
        """Value that the study optimises; None if there are several."""
        study = self._read(lambda _, study: study)
        if len(study.directions) != 1:
            return None
        names = study.metric_names
        return Objective(name=names[0] if names else "value", maximised=study.directions[0] == StudyDirection.MAXIMIZE)

    @property
    def spec(self) -> StudySpec:
        return self._attributes().spec

    def trials(self) -> tuple[TrialRecord, ...]:
        """Return all trials, ordered by number."""
        return tuple(record for _, record in self._read(self._trials))

    def snapshot(self) -> StudySnapshot:
        """Read the study once, for a command that needs its trials several times."""
        study, trials, driver = self._read(
            lambda connection, study: (study, self._trials(connection, study), holder_in(connection, self.name))
        )
        attributes = self._attributes_of(study)
        return StudySnapshot(
            name=self.name,
            spec=attributes.spec,
            records=tuple(record for _, record in trials),
            final_run=attributes.final_run,
            reevaluation=attributes.reevaluation,
            profiling=attributes.profiling,
            command=attributes.command,
            searched_s=attributes.searched_s,
            frozen=tuple(frozen for frozen, _ in trials),
            other_attributes=attributes.other,
            system_attributes=study.system_attributes,
            driver=None if driver is None else str(driver),
        )

    @property
    def final_run(self) -> FinalRunFacts | None:
        """Facts about the final run; None before there is one."""
        return self._attributes().final_run

    @property
    def reevaluation(self) -> dict[str, Any]:
        """Facts about the re-evaluation runs; empty before there are any (see `tuner.comparison`)."""
        return self._attributes().reevaluation

    @property
    def profiling(self) -> ProfilingFacts:
        """Results of profiling before the search."""
        return self._attributes().profiling

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the last `tune run`; empty if they are not recorded."""
        return self._attributes().command

    @property
    def searched_s(self) -> float:
        """Recorded wall time of the search over all drivers, in seconds."""
        return self._attributes().searched_s

    def _attributes(self) -> StudyAttributes:
        return self._read(lambda _, study: self._attributes_of(study))

    def _attributes_of(self, study: StudyRow) -> StudyAttributes:
        return StudyAttributes(name=self.name, stored=study.user_attributes, folder=self._folder)

    def _read(self, read: Callable[[Connection, StudyRow], Value]) -> Value:
        """Return what `read` returns for a connection and the study without its trials."""
        with self._database.connection() as connection:
            study = None if connection is None else read_study(connection, self.name)
            if connection is None or study is None:
                raise UsageError(self._missing())
            return read(connection, study)

    def _missing(self) -> str:
        path = sqlite_path(self.url)
        if path is not None and not path.exists():
            return f"There is no study '{self.name}': '{path}' does not exist. `tune status` lists the studies."
        return f"There is no study '{self.name}' in {masked(self.url)}."

    def _trials(self, connection: Connection, study: StudyRow) -> list[tuple[FrozenTrial, TrialRecord]]:
        """Return all trials, ordered by number; read those again that had not finished."""
        if study.study_id != self._number:  # it was deleted and created again
            self._number, self._finished, self._unfinished = study.study_id, {}, set()
        last = max(max(self._finished, default=-1), max(self._unfinished, default=-1))
        with collection_paused():
            trials = read_trials(connection, study.study_id, self._unfinished, above=last)
            is_ours = self._attributes_of(study).is_ours
            pairs = {trial._trial_id: (trial, self._record(trial, is_ours=is_ours)) for trial in trials}
        self._finished |= {number: pair for number, pair in pairs.items() if pair[0].state.is_finished()}
        self._unfinished = pairs.keys() - self._finished.keys()
        return sorted((self._finished | pairs).values(), key=lambda pair: pair[0].number)

    def _record(self, trial: FrozenTrial, *, is_ours: bool) -> TrialRecord:
        return trial_record(trial, found(trial.user_attrs, self._folder) if is_ours else {})
