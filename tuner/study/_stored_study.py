"""Read a study from its database."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import Engine

from tuner.exceptions import StorageError, UsageError
from tuner.storage.database import existing_storage, masked, open_storage, sqlite_path, sqlite_url, translated
from tuner.study._facts import FinalRunFacts, ProfilingFacts
from tuner.study._paths import StudyPaths
from tuner.study._places import found
from tuner.study._records import StudySpec, TrialRecord, trial_record
from tuner.study._snapshot import StudySnapshot

SPEC = "spec"
FINAL_RUN = "promotion"
REEVALUATION = "reevaluation"
SEARCHED = "searched_s"
PROFILING = "rehearsal"
COMMAND = "command"
ARTIFACTS = "artifacts"
_OWN = {SPEC, FINAL_RUN, REEVALUATION, SEARCHED, PROFILING, COMMAND, ARTIFACTS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """Value that a study optimises."""

    name: str
    maximised: bool


class StoredStudy:
    """Study that is read from its database on every access.

    Every method raises StorageError if the database cannot be used.
    """

    def __init__(self, study: optuna.Study, url: str, engine: Engine, folder: Path) -> None:
        self._study = study
        self._engine = engine
        self._folder = folder
        self._finished: dict[int, TrialRecord] = {}
        """Records of finished trials by number: those never change."""
        self.url = url

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
        path = sqlite_path(url)
        if path is not None and not path.exists():
            raise UsageError(f"There is no study '{name}': '{path}' does not exist. `tune status` lists the studies.")
        with translated(url):
            try:
                storage = open_storage(url)
                return cls(optuna.load_study(storage=storage, study_name=name), url, storage.engine, folder)
            except KeyError as error:
                raise UsageError(f"There is no study '{name}' in {masked(url)}.") from error

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
        self._engine.dispose()

    @property
    def name(self) -> str:
        return self._study.study_name

    @property
    def storage(self) -> BaseStorage:
        """Optuna's storage, for Optuna's own tools."""
        return self._study._storage

    @property
    def is_ours(self) -> bool:
        """True if tune created the study; another program's has no spec, and its attributes mean nothing to us."""
        with translated(self.url):
            return SPEC in self._study.user_attrs

    @property
    def objective(self) -> Objective | None:
        """Value that the study optimises; None if there are several."""
        with translated(self.url):
            directions, names = self._study.directions, self._study.metric_names
        if len(directions) != 1:
            return None
        return Objective(name=names[0] if names else "value", maximised=directions[0] == StudyDirection.MAXIMIZE)

    @property
    def spec(self) -> StudySpec:
        with translated(self.url):
            return spec_of(self._study, self._folder)

    def trials(self) -> tuple[TrialRecord, ...]:
        """Return all trials, ordered by number."""
        with translated(self.url):
            trials = self._study.get_trials(deepcopy=False)
        is_ours = self.is_ours
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self._finished:
                self._finished[trial.number] = self._record(trial, is_ours=is_ours)
        return tuple(self._finished.get(trial.number) or self._record(trial, is_ours=is_ours) for trial in trials)

    def _record(self, trial: FrozenTrial, *, is_ours: bool) -> TrialRecord:
        return trial_record(trial, found(trial.user_attrs, self._folder) if is_ours else {})

    def snapshot(self) -> StudySnapshot:
        """Read the study once, for a command that needs its trials several times."""
        return StudySnapshot(
            name=self.name,
            spec=self.spec,
            records=self.trials(),
            final_run=self.final_run,
            reevaluation=self.reevaluation,
            profiling=self.profiling,
            command=self.command,
            searched_s=self.searched_s,
        )

    @property
    def final_run(self) -> FinalRunFacts | None:
        """Facts about the final run; None before there is one."""
        with translated(self.url):
            stored = self._study.user_attrs.get(FINAL_RUN)
        return FinalRunFacts.decode(found(stored, self._folder)) if stored else None

    @property
    def reevaluation(self) -> dict[str, Any]:
        """Facts about the re-evaluation runs; empty before there are any (see `tuner.comparison`)."""
        with translated(self.url):
            return dict(self._study.user_attrs.get(REEVALUATION, {}))

    @property
    def other_attributes(self) -> dict[str, Any]:
        """User attributes of the study that tune did not write."""
        with translated(self.url):
            stored = self._study.user_attrs
        return {name: value for name, value in stored.items() if name not in _OWN}

    @property
    def profiling(self) -> ProfilingFacts:
        """Results of profiling before the search."""
        with translated(self.url):
            return ProfilingFacts.decode(self._study.user_attrs.get(PROFILING, {}))

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the last `tune run`; empty if they are not recorded."""
        with translated(self.url):
            return tuple(self._study.user_attrs.get(COMMAND, ()))

    @property
    def searched_s(self) -> float:
        """Recorded wall time of the search over all drivers, in seconds."""
        with translated(self.url):
            return float(self._study.user_attrs.get(SEARCHED, 0.0))


def study_names(url: str) -> set[str]:
    """Return the names of the studies that tune created in a database; create nothing.

    Raises:
        StorageError: The database cannot be used.
    """
    path = sqlite_path(url)
    if path is not None and not path.exists():
        return set()
    with translated(url), existing_storage(url) as storage:
        return {study.study_name for study in storage.get_all_studies() if SPEC in study.user_attrs}


def spec_of(study: optuna.Study, folder: Path) -> StudySpec:
    """Return the spec of a study whose files are in this folder.

    Raises:
        StorageError: The study has no spec.
    """
    stored = study.user_attrs.get(SPEC)
    if stored is None:
        raise StorageError(foreign(study.study_name))
    sequences = {name: tuple(stored.get(name, ())) for name in ("rungs", "warm_start", "sources")}
    return StudySpec(**found({**stored, **sequences}, folder))


def foreign(name: str) -> str:
    """Return the message for a study that tune did not create."""
    return (
        f"The study '{name}' was not created by tune: it has no record of its space. Choose another name with --study."
    )
