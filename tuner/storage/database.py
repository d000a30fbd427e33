"""Open databases for studies, and translate their errors.

SQLite serves one machine, PostgreSQL several. Both go through Optuna's RDBStorage.
"""

import contextlib
import json
import os
import random
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.storages import RDBStorage

from tuner.exceptions import StorageError
from tuner.storage.bulk_reading import BulkReadingStorage, has_newest_tables, has_studies
from tuner.storage.urls import masked, parsed_url, rendered, sqlite_path, without_secrets
from tuner.system.filesystems import file_system, is_network

_BUSY_TIMEOUT_S = 60
_RETRY_S = 0.05
_RACES = 100

# Defaults for libpq; the URL can override them: https://www.postgresql.org/docs/current/libpq-connect.html
_LIBPQ_OPTIONS = {
    "application_name": "mamba-yolo-tuner",
    # That of a database in SQL_ASCII would be none, and its text would arrive as bytes.
    "client_encoding": "utf8",
    "connect_timeout": 10,
    # Detect a silently lost peer within a minute, idle or not.
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}

# Error messages of drivers and servers, with their remedies. PostgreSQL gives no code for a failed connection.
_REMEDIES = {
    "password authentication failed|no password supplied|role .* does not exist": "correct the user or the password "
    "in --storage (TUNE_STORAGE), or in ~/.pgpass",
    "database .* does not exist": "create the database with createdb, or correct its name in --storage",
    "connection refused|no such file or directory|network is unreachable|no route to host": "start the server, or "
    "correct host and port in --storage",
    "resolve host|translate host name|name or service not known|name resolution": "correct the host in --storage",
    "timeout expired|timed out": "check that the server runs and that no firewall blocks it",
    "permission denied|must be owner|insufficient privilege": "ask the owner of the database for the right to "
    "create and write tables",
    "no pg_hba.conf entry": "allow this user and machine in the server's pg_hba.conf",
    "too many clients|connection slots": "close other clients, or raise the server's max_connections",
    "starting up|shutting down|recovery mode|closed the connection|terminating connection|connection is closed|"
    "connection is lost|connection reset": "run the same command again when the server is available",
    "read-only transaction": "give the primary server in --storage, not a read-only replica",
    "readonly database|read-only": "give this user write access to the file and its folder",
    "unable to open database file": "check that its folder exists and that this user can write there",
    "is locked": f"another program has locked it for more than {_BUSY_TIMEOUT_S} s: stop that program",
    "not a database|file is encrypted": "give another file with --storage; if this one contained studies, "
    "it is damaged: restore a backup",
    "malformed|decode|not among the defined enum|unreadable value": "it is damaged: restore a backup, or "
    "recover the readable part with `sqlite3 FILE .recover`",
    "disk is full|no space left": "free disk space",
    "disk i/o error": "check the disk",
}


def open_storage(url: str) -> RDBStorage:
    """Open Optuna's storage for a database; create the SQLite file and the tables if they are missing.

    Raises:
        UsageError: The URL is not a database URL.
        StorageError: The database cannot be used; the message contains a remedy.
    """
    with translated(url):
        _prepare(url)
        storage = _first_or_later(url)
        refused = schema_problem(storage, url)
        if refused:
            raise StorageError(refused)
        return storage


@contextlib.contextmanager
def own_tables(url: str, tables: Iterable[sqlalchemy.Table]) -> Iterator[sqlalchemy.Engine]:
    """Open an SQLAlchemy engine for tables of our own; create them, and the SQLite file and its folder, if missing.

    Raises:
        UsageError: The URL is not a database URL.
        StorageError: The database cannot be used.
    """
    with translated(url):
        path = sqlite_path(url)
        if path is not None:  # nobody else may read a folder that is new: the tables may hold secrets
            os.makedirs(path.parent, mode=0o700, exist_ok=True)  # noqa: PTH103 - sets the mode of the last folder only
        _prepare(url)
    with plain_engine(url) as engine:
        with translated(url):
            for table in tables:
                create_table(engine, table)
        yield engine


def create_table(engine: sqlalchemy.Engine, table: sqlalchemy.Table) -> None:
    """Create a table if it is missing, even if another process is creating it right now."""
    try:
        table.create(engine, checkfirst=True)
    except sqlalchemy.exc.DBAPIError:
        if not sqlalchemy.inspect(engine).has_table(table.name):
            raise


@contextlib.contextmanager
def plain_engine(url: str) -> Iterator[sqlalchemy.Engine]:
    """Open an SQLAlchemy engine for a database with any content. It connects on first use."""
    engine = sqlalchemy.create_engine(parsed_url(url), **_engine_options(url))
    try:
        yield engine
    finally:
        engine.dispose()


def reading_engine(url: str) -> sqlalchemy.Engine | None:
    """Open an SQLAlchemy engine to read the studies of a database; create and change nothing.

    Optuna's storage is not opened, because this imports Alembic to check the version of the tables.

    Returns:
        None if the database has no tables of Optuna: nobody has started a study there.

    Raises:
        UsageError: The URL is not a database URL.
        StorageError: The database cannot be used; the message contains a remedy.
    """
    with translated(url):
        path = sqlite_path(url)
        if path is not None:
            if not path.exists():
                return None
            _refuse_network(path)
            with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
                _refuse_damaged(connection)
        with contextlib.ExitStack() as unless_returned:
            engine = sqlalchemy.create_engine(parsed_url(url), **_engine_options(url))
            unless_returned.callback(engine.dispose)
            if not has_studies(engine):
                return None
            if not has_newest_tables(engine):
                with existing_storage(url) as storage:
                    problem = schema_problem(storage, url)
                if problem:
                    raise StorageError(problem)
            unless_returned.pop_all()
            return engine


@contextlib.contextmanager
def existing_storage(url: str, **engine: Any) -> Iterator[RDBStorage]:
    """Open the storage of a database that has tables of any version. Creates nothing.

    Call it inside `translated`.

    Args:
        url: Database URL.
        **engine: Further SQLAlchemy engine options.
    """
    options = {**_engine_options(url), **engine}
    storage = BulkReadingStorage(
        rendered(parsed_url(url)), options, skip_compatibility_check=True, skip_table_creation=True
    )
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def schema_problem(storage: RDBStorage, url: str) -> str:
    """Return why this version of Optuna cannot use the tables; "" if it can."""
    found, needed = storage.get_current_version(), storage.get_head_version()
    if found == needed:
        return ""
    if found in storage.get_all_versions():
        return (
            f"The database {masked(url)} was created by an older Optuna: its tables have version {found}, and Optuna "
            f"{optuna.__version__} needs {needed}. Run `tune db upgrade`, after a backup."
        )
    return (
        f"The database {masked(url)} was created by a newer Optuna: its tables have version {found}, which Optuna "
        f"{optuna.__version__} does not know. Install a newer mamba-yolo-tuner, or use an older backup."
    )


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Translate errors of Optuna, SQLAlchemy and the drivers into a one-line StorageError without the password."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        raise _told(url, str(getattr(cause, "orig", None) or cause or error)) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _told(url, f"unreadable value ({error})") from error
    except LookupError as error:
        if type(error) is not LookupError:  # the database raises neither KeyError nor IndexError
            raise
        raise _told(url, str(error)) from error
    except ImportError as error:
        raise StorageError(_missing_driver(url, error)) from error


def _engine_options(url: str) -> dict[str, Any]:
    """Return the options with which SQLAlchemy opens and pools connections."""
    parsed = parsed_url(url)
    if parsed.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": _BUSY_TIMEOUT_S, "factory": _DurableConnection}}
    options: dict[str, Any] = {
        "pool_pre_ping": True,  # replace a connection that was cut while idle before using it
        "pool_recycle": 1800,  # below the hour after which firewalls and providers cut idle connections
        "pool_size": 2,
        "max_overflow": 4,
    }
    if parsed.drivername == "postgresql+psycopg":
        ours = {name: value for name, value in _LIBPQ_OPTIONS.items() if name not in parsed.query}
        options["connect_args"] = {**ours, "prepare_threshold": None}  # poolers like PgBouncer can lose them
    return options


class _DurableConnection(sqlite3.Connection):
    """SQLite connection that syncs every commit to disk.

    In WAL mode, `synchronous=NORMAL` (the default of some builds) syncs only at checkpoints. A power failure would
    lose the last commits, and a finished trial with them. FULL syncs the log at every commit. That takes a few
    milliseconds, and nothing waits for it. https://www.sqlite.org/pragma.html#pragma_synchronous
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.execute("PRAGMA synchronous=FULL")


def _prepare(url: str) -> None:
    """Check and create the file of an SQLite database; do nothing for others."""
    path = sqlite_path(url)
    if path is not None:
        _refuse_network(path)
        _prepare_sqlite(path)


def _refuse_network(path: Path) -> None:
    kind = file_system(path)
    if is_network(kind):
        raise StorageError(network_problem(path, kind))


def network_problem(path: Path, kind: str) -> str:
    """Explain why an SQLite file cannot be on a network file system of this type, with a remedy."""
    return (
        f"SQLite needs a local disk, because its locks do not work on a network file system, but '{path}' is "
        f"on {kind}. Give --storage a local path (sqlite:////var/tmp/study.db) or a PostgreSQL database "
        "(postgresql://user@host/name); the study's folder can stay where it is."
    )


def _prepare_sqlite(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
        _refuse_damaged(connection)  # writing would damage it further
        _enable_wal(connection)


def _refuse_damaged(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]  # takes milliseconds at a study's size
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found}")


def _enable_wal(connection: sqlite3.Connection) -> None:
    """Set the journal mode, which is stored in the file, so that readers do not block the driver.

    SQLite does not wait for a process that changes the mode at the same time, so this does.
    """
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
        else:
            return


def _first_or_later(url: str) -> RDBStorage:
    """Create the tables; use existing ones, even if another process is creating them right now."""
    for race in range(_RACES):
        try:
            return BulkReadingStorage(rendered(parsed_url(url)), _engine_options(url), skip_compatibility_check=True)
        except (sqlalchemy.exc.OperationalError, sqlalchemy.exc.ProgrammingError) as error:
            if "already exists" not in str(error) or race == _RACES - 1:
                raise
        except sqlalchemy.exc.IntegrityError:
            if race == _RACES - 1:
                raise
        time.sleep(random.uniform(0, 0.1))
    raise AssertionError("the last race was returned or raised")


def _told(url: str, reason: str) -> StorageError:
    text = " ".join(without_secrets(reason, parsed_url(url)).split())[:200].rstrip(".")
    remedy = next((what for pattern, what in _REMEDIES.items() if re.search(pattern, reason, re.IGNORECASE)), "")
    return StorageError(f"The database {masked(url)} cannot be used: {text}{'; ' if remedy else ''}{remedy}.")


def _missing_driver(url: str, error: ImportError) -> str:
    if parsed_url(url).drivername == "postgresql+psycopg":
        return (
            f"The database {masked(url)} needs psycopg, which is not installed: "
            "pip install 'mamba-yolo-tuner[postgres]'"
        )
    missing = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or "its driver"
    return f"The database {masked(url)} needs a package that is not installed: {missing}. Install it with pip."
