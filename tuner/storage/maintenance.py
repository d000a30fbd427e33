"""Check a database, back it up, and upgrade its tables to the version that this Optuna needs."""

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
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy

from tuner.exceptions import StorageError, StudyLockedError, UsageError
from tuner.storage.database import existing_storage, network_problem, plain_engine, schema_problem, translated
from tuner.storage.lease import holder_of
from tuner.storage.urls import masked, parsed_url, sqlite_path, sqlite_url
from tuner.system.filesystems import file_system, is_network

_ROUND_TRIPS = 5
_ROWS_AT_ONCE = 5000
_SPEC = "spec"  # the first attribute that tuner.study writes


@dataclass(kw_only=True, slots=True)
class Report:
    """Result of a database check."""

    facts: dict[str, str] = field(default_factory=dict)
    studies: dict[str, Mapping[str, int]] = field(default_factory=dict)
    """Number of trials by state, for each study."""
    foreign: list[str] = field(default_factory=list)
    """Studies that tune did not create."""
    problems: list[str] = field(default_factory=list)
    """Problems with their remedies, one line each."""


def check(url: str) -> Report:
    """Check a database without changing it.

    Raises:
        UsageError: The URL is not a database URL, or its file does not exist.
    """
    path = _existing(url)
    report = Report(facts={"database": masked(url)})
    if path is not None:
        _look_at_file(path, report)
    try:
        with translated(url), plain_engine(url) as engine:
            _look_at_server(engine, path, report)
            _look_at_studies(engine, url, report)
    except StorageError as problem:
        if str(problem) not in report.problems:
            report.problems.append(str(problem))
    return report


def backup(url: str, output: Path | None = None, *, force: bool = False) -> Path:
    """Copy a database into an SQLite file that --storage accepts, even while a driver writes.

    The copy is a snapshot of one moment.

    Args:
        url: Database URL.
        output: File to write. By default, it is named after the database and the time, and is in the folder of the
            SQLite database or in the current folder.
        force: Replace an existing file.

    Returns:
        Path of the copy.

    Raises:
        UsageError: The database does not exist, or `output` cannot be written.
        StorageError: The database cannot be read.
    """
    source = _existing(url)
    target = (output or _backup_name(url, source)).absolute()
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    if source is not None and source.resolve() == target.resolve():
        raise UsageError(f"A backup must not be the database itself, but got --output '{target}'; choose another file.")
    try:
        if target.exists() and not force:
            raise UsageError(f"A backup must be a new file, but '{target}' exists; choose another -o, or add --force.")
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
    """Upgrade the tables to the version that this Optuna needs; back up an SQLite database first.

    Optuna 4 and older wrote local times, which Optuna 5 reads as UTC, so the times of older trials are shifted by
    their time zone. No decision of a search uses them.

    Args:
        url: Database URL.
        confirmed: The user has a backup of a database other than SQLite.

    Returns:
        The version found ("" if no upgrade was needed), and the path of the backup.

    Raises:
        UsageError: The database does not exist, or the upgrade needs a confirmation.
        StorageError: The database cannot be used, or was created by a newer Optuna.
        StudyLockedError: A driver is running one of its studies.
    """
    path = _existing(url)
    with translated(url), plain_engine(url) as engine:
        _refuse_empty(engine, url)
        with existing_storage(url) as storage:
            found = storage.get_current_version()
            if found == storage.get_head_version():
                return "", None
            if found not in storage.get_all_versions():
                raise StorageError(schema_problem(storage, url))
        _refuse_driven(url, engine)
        if path is None and not confirmed:
            raise UsageError(
                "An upgrade cannot be undone: copy the database first, for example with pg_dump, then run "
                "this command again with --yes."
            )
        copy = backup(url) if path is not None else None
        with existing_storage(url) as storage, warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # old distribution names found during the upgrade
            storage.upgrade()
    return found, copy


def _existing(url: str) -> Path | None:
    """Return the file of an SQLite database; None for other databases.

    Raises:
        UsageError: The file does not exist. SQLite would create it.
    """
    path = sqlite_path(url)
    with contextlib.suppress(PermissionError):  # SQLite will report it
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
        report.facts["tables"] = "none: no study has been started here"
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
    """Count the trials by state; read each one in full."""
    try:
        trials = storage.get_all_trials(study._study_id, deepcopy=False)
    except (AssertionError, LookupError, TypeError, ValueError) as error:  # the file is intact, its content is not
        reason = " ".join(str(error).split())[:200]
        report.problems.append(
            f"The trials of '{study.study_name}' cannot be read ({reason}): restore a backup of the database."
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
        old.backup(new)  # copies all pages under one read lock, which does not block writers in WAL mode
        found = new.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found}")


def _copy_studies(url: str, target: Path) -> None:
    with plain_engine(url) as engine:
        _refuse_empty(engine, url)
    # With this isolation level, all rows are read from one snapshot.
    with existing_storage(url, isolation_level="REPEATABLE READ") as source:
        problem = schema_problem(source, url)
        if problem:
            raise StorageError(problem)
        copy = RDBStorage(sqlite_url(target))
        with source.engine.connect() as reading, copy.engine.begin() as writing:
            for table in models.BaseModel.metadata.sorted_tables:
                if table.name != models.VersionInfoModel.__tablename__:  # the copy has its own
                    _copy_rows(table, reading, writing)
        copy.remove_session()
        copy.engine.dispose()


def _copy_rows(table: sqlalchemy.Table, reading: sqlalchemy.Connection, writing: sqlalchemy.Connection) -> None:
    rows = reading.execution_options(stream_results=True, max_row_buffer=_ROWS_AT_ONCE).execute(
        sqlalchemy.select(table)
    )
    for part in rows.mappings().partitions(_ROWS_AT_ONCE):
        writing.execute(sqlalchemy.insert(table), [dict(row) for row in part])


def _refuse_empty(engine: sqlalchemy.Engine, url: str) -> None:
    if not _has_tables(engine):
        raise StorageError(f"There are no studies in {masked(url)}: check the name of the database.")


def _refuse_driven(url: str, engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        names = connection.execute(sqlalchemy.text("SELECT study_name FROM studies")).scalars().all()
    for name in names:
        holder = holder_of(url, name)
        if holder is not None:
            raise StudyLockedError(f"An upgrade needs exclusive access, but {holder} runs '{name}': stop it first.")


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
