"""Open a study to drive it: create a new one, write what the last driver left, and save it if its files are removed."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from tuner.exceptions import StorageError, StudyChangedError, UsageError
from tuner.storage.database import open_storage, translated
from tuner.storage.lease import Lease
from tuner.storage.urls import sqlite_path
from tuner.study._attributes import SPEC, StudyAttributes, foreign
from tuner.study._changes import Change, Replica
from tuner.study._journal import Journal
from tuner.study._places import kept
from tuner.study._records import StudySpec
from tuner.study._study_session import StudySession
from tuner.study._witness import Witness
from tuner.study._writer import Writer
from tuner.system.atomic_files import write_whole

_LAST_CHANCE_S = 5.0
"""Time that a driver waits at exit for a database that does not answer, in seconds."""


@contextlib.contextmanager
def driven_study(
    lease: Lease,
    spec: StudySpec | None,
    journal: Path,
    on_event: Callable[[str], None] = lambda line: None,
) -> Iterator[StudySession]:
    """Drive the study of a lease within the block; create it with `spec` if it does not exist.

    An existing study keeps its own spec. Changes that an earlier driver left in the journal are written first. If the
    files of the record are removed, moved or replaced meanwhile, the whole study is saved in the journal.

    Args:
        lease: Lease of the study.
        spec: Spec of a new study; None if the study must exist.
        journal: Journal file in the study's folder.
        on_event: Receives one-line messages, for example when the database becomes unreachable or answers again.

    Raises:
        StorageError: The database cannot be used, or tune did not create the study.
        RecordRemovedError: The files of the record were removed, moved or replaced.
        UsageError: The study does not exist, and there is no `spec` to create it.
    """
    storage = open_storage(lease.url)
    with translated(lease.url):
        _begin(storage, lease.study, spec, journal.parent)
        replica = _replica(storage, lease.study)
        backlog = Journal(journal)
        try:
            for change in backlog.read():
                replica.follow(change)
            backlog.clear()
        except StudyChangedError as error:  # a retry cannot help: the database counts
            on_event(f"{error} The pending changes of the last driver are saved in '{backlog.set_aside()}'.")
        stored = optuna.load_study(storage=storage, study_name=lease.study)
        trials = stored.get_trials(deepcopy=False)
        attributes = stored.user_attrs

    def carry_out(change: Change) -> None:
        with translated(lease.url):
            replica.follow(change)

    witness = _witness(journal, lease.url)
    writer = Writer(backlog, lease, carry_out, on_event, witness.taken)
    known = StudyAttributes(name=lease.study, stored=attributes, folder=journal.parent)
    study = StudySession(lease, known, trials, writer)
    try:
        yield study
        if witness.taken() is not None:
            study.check()
    finally:
        writer.close(_LAST_CHANCE_S)
        storage.engine.dispose()
        if witness.taken() is not None:
            on_event(_saved(study, witness.folder_now() / journal.name))
        witness.close()


def _witness(journal: Path, url: str) -> Witness:
    """Watch the files whose removal would lose the record or later changes."""
    database = sqlite_path(url)
    if database is None:
        return Witness(journal.parent, [journal])
    return Witness(journal.parent, [journal, database], later=[database.with_name(f"{database.name}-wal")])


def _saved(study: StudySession, journal: Path) -> str:
    """Replace the journal with one that holds the whole study; return a message about it.

    The old journal held only the changes that are not in the database.
    """
    content = "".join(f"{change.encoded()}\n" for change in study.as_changes())
    try:
        journal.parent.mkdir(parents=True, exist_ok=True)
        write_whole(journal, content.encode())
    except OSError as error:
        return f"the state of the study could not be saved in '{journal}' ({error.strerror})"
    return f"the complete state of the study is saved in '{journal}': the next run there writes it to the database"


def _replica(storage: RDBStorage, name: str) -> Replica:
    try:
        return Replica(storage, name)
    except KeyError as error:
        raise UsageError(f"The study '{name}' does not exist any more; `tune status` lists the studies.") from error


def _begin(storage: RDBStorage, name: str, spec: StudySpec | None, folder: Path) -> None:
    if spec is None:
        return
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    if SPEC in study.user_attrs:
        return
    # Start a study without our record only if it is empty.
    if study.direction != optuna.study.StudyDirection.MAXIMIZE or study.get_trials(deepcopy=False):
        raise StorageError(foreign(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([spec.metric])
    study.set_user_attr(SPEC, kept(asdict(spec), folder))
