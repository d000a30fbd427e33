"""Looking after a database: what state it is in, a copy of it, and tables of the version that this Optuna needs."""

import contextlib
import os
import sqlite3
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study._frozen import FrozenStudy

from tuner.exceptions import StorageProblem, StudyLocked, UsageError
from tuner.storage.database import (
    existing_storage,
    masked,
    network_problem,
    parsed_url,
    plain_engine,
    schema_problem,
    sqlite_path,
    sqlite_url,
    translated,
)
from tuner.storage.lease import holder_of
from tuner.system.filesystems import file_system, is_network

_ROUND_TRIPS = 5
_SPEC = "spec"  # tuner.study writes it first of all


@dataclass(kw_only=True, slots=True)
class Report:
    """What was found out about a database."""

    facts: dict[str, str] = field(default_factory=dict)
    studies: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """How many trials each study has, by their state."""
    foreign: list[str] = field(default_factory=list)
    """Studies that were not made by tune."""
    problems: list[str] = field(default_factory=list)
    """One line each: what is wrong, and the remedy."""


def check(url: str) -> Report:
    """Look at a database; changes nothing in it.

    Raises:
        UsageError: not a database URL, or one of a file that does not exist.
    """
    path = _existing(url)
    report = Report(facts={"database": masked(url)})
    if path is not None:
        _look_at_file(path, report)
    try:
        with translated(url), plain_engine(url) as engine:
            _look_at_server(engine, path, report)
            _look_at_studies(engine, url, report)
    except StorageProblem as problem:
        if str(problem) not in report.problems:
            report.problems.append(str(problem))
    return report


def backup(url: str, output: Path | None = None, *, force: bool = False) -> Path:
    """Copy a database into an SQLite file, while a driver writes or not, that --storage can be given.

    An SQLite database is copied as it is at one moment; of another, each study's trials are those of one moment.

    Args:
        output: the file to write; by default one named after the database and the time, beside an SQLite database,
            or in the current folder.
        force: replace a file that is there.

    Raises:
        UsageError: no such database, or `output` cannot be written.
        StorageProblem: the database cannot be read.
    """
    source = _existing(url)
    target = (output or _backup_name(url, source)).absolute()
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    if source is not None and source.resolve() == target.resolve():
        raise UsageError(f"A backup must be another file than its database, but --output is '{target}' itself.")
    try:
        if target.exists() and not force:
            raise UsageError(f"A backup replaces no file, but '{target}' is there; choose another -o, or add --force.")
        partial.touch()
        with translated(url):
            if source is not None:
                _copy_file(source, partial)
            else:
                _copy_studies(url, partial)
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise UsageError(f"The backup '{target}' cannot be written: {error.strerror}; choose another -o.") from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                partial.with_name(partial.name + suffix).unlink()
    return target


def upgrade(url: str, *, confirmed: bool = False) -> tuple[str, Path | None]:
    """Bring the tables to the version that this Optuna needs; an SQLite database is copied first.

    Optuna 4 and older wrote local times and 5 takes them for UTC: the times of older trials are shifted by the zone
    in which they ran. No decision of a search looks at them.

    Args:
        confirmed: there is a copy of a database that is not SQLite.

    Returns:
        The version that was found, "" when it was the right one, and where the copy is.

    Raises:
        UsageError: no such database, or it needs a confirmation.
        StorageProblem: it cannot be used, or is of a newer Optuna.
        StudyLocked: a driver runs one of its studies.
    """
    path = _existing(url)
    with translated(url), plain_engine(url) as engine:
        _refuse_empty(engine, url)
        with existing_storage(url) as storage:
            found = storage.get_current_version()
            if found == storage.get_head_version():
                return "", None
            if found not in storage.get_all_versions():
                raise StorageProblem(schema_problem(storage, url))
        _refuse_driven(url, engine)
        if path is None and not confirmed:
            raise UsageError(
                "An upgrade cannot be taken back: copy the database first, with pg_dump or its like, and then run "
                "this again with --yes."
            )
        copy = backup(url) if path is not None else None
        with existing_storage(url) as storage, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # names of old distributions, met on the way
            storage.upgrade()
    return found, copy


def _existing(url: str) -> Path | None:
    """The file of an SQLite database.

    Raises:
        UsageError: it is not there; SQLite would make it.
    """
    path = sqlite_path(url)
    with contextlib.suppress(PermissionError):  # SQLite will say it
        if path is not None and not path.is_file():
            raise UsageError(f"There is no database at '{path}'. `tune status` lists the studies.")
    return path


def _has_tables(engine: sqlalchemy.Engine) -> bool:
    return sqlalchemy.inspect(engine).has_table("alembic_version")


def _look_at_file(path: Path, report: Report) -> None:
    kind = file_system(path)
    with contextlib.suppress(PermissionError):
        report.facts["file"] = f"{path.stat().st_size / 2**20:.1f} MiB"
    report.facts["file system"] = kind or "unknown"
    if is_network(kind):
        report.problems.append(network_problem(path, kind))


def _look_at_server(engine: sqlalchemy.Engine, path: Path | None, report: Report) -> None:
    with engine.connect() as connection:
        name = "SQLite" if path is not None else engine.dialect.name.replace("postgresql", "PostgreSQL")
        version = engine.dialect.server_version_info or ()
        report.facts["server"] = f"{name} {'.'.join(str(part) for part in version)}"
        report.facts["round trip"] = f"{_round_trip_ms(connection):.2f} ms"
        if path is None:
            return
        report.facts["journal"] = str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())
        found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(3)")]
        report.facts["integrity"] = " ".join("; ".join(found).split())[:300]
        if found != ["ok"]:
            raise sqlite3.DatabaseError(f"malformed: {found[0]}")


def _round_trip_ms(connection: sqlalchemy.Connection) -> float:
    seconds = []
    for _ in range(_ROUND_TRIPS):
        began = time.perf_counter()
        connection.exec_driver_sql("SELECT 1").scalar()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _look_at_studies(engine: sqlalchemy.Engine, url: str, report: Report) -> None:
    if not _has_tables(engine):
        report.facts["tables"] = "none: no study has begun here"
        return
    with existing_storage(url) as storage:
        found, needed = storage.get_current_version(), storage.get_head_version()
        report.facts["tables"] = f"version {found}; Optuna {optuna.__version__} needs {needed}"
        problem = schema_problem(storage, url)
        if problem:
            report.problems.append(problem)
            return
        for study in storage.get_all_studies():
            report.studies[study.study_name] = _states(storage, study, report)
            if _SPEC not in study.user_attrs:
                report.foreign.append(study.study_name)


def _states(storage: RDBStorage, study: FrozenStudy, report: Report) -> dict[str, int]:
    """How many trials are in which state; each is read in full."""
    try:
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
    except (AssertionError, LookupError, TypeError, ValueError) as error:  # bytes are sound, what they say is not
        reason = " ".join(str(error).split())[:200]
        report.problems.append(
            f"The trials of '{study.study_name}' cannot be read ({reason}): put a backup of the database in its place."
        )
        return {}
    return dict(sorted(Counter(trial.state.name for trial in trials).items()))


def _backup_name(url: str, source: Path | None) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    if source is not None:
        return source.with_name(f"{source.stem}-{stamp}.db")
    return Path(f"{parsed_url(url).database or 'database'}-{stamp}.db")


def _copy_file(source: Path, target: Path) -> None:
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
        old.backup(new)  # all pages under one read lock: in WAL mode nobody waits for it
        found = new.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found}")


def _copy_studies(url: str, target: Path) -> None:
    with plain_engine(url) as engine:
        _refuse_empty(engine, url)
    # With that isolation all that is read of a study's trials is of one moment.
    with existing_storage(url, isolation_level="REPEATABLE READ") as source:
        problem = schema_problem(source, url)
        if problem:
            raise StorageProblem(problem)
        copy = RDBStorage(sqlite_url(target))
        for study in source.get_all_studies():
            optuna.copy_study(from_study_name=study.study_name, from_storage=source, to_storage=copy)
        copy.remove_session()
        copy.engine.dispose()


def _refuse_empty(engine: sqlalchemy.Engine, url: str) -> None:
    if not _has_tables(engine):
        raise StorageProblem(f"There are no studies in {masked(url)} yet: check the name of the database.")


def _refuse_driven(url: str, engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        names = connection.execute(sqlalchemy.text("SELECT study_name FROM studies")).scalars().all()
    for name in names:
        holder = holder_of(url, name)
        if holder is not None:
            raise StudyLocked(f"No driver may run while tables are changed, but {holder} runs '{name}': stop it first.")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
