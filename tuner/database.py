"""Databases: what a URL means, how its storage is opened, and what its errors are called.

SQLite for one machine, PostgreSQL for more, both through Optuna's RDBStorage.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from tuner.exceptions import StorageProblem, UsageError

_BUSY_TIMEOUT_S = 60


def open_storage(url: str) -> RDBStorage:
    """Optuna's storage of a database; an SQLite file is created where there is none."""
    path = sqlite_path(url)
    if path is None:
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file: readers do not block the driver
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _BUSY_TIMEOUT_S}})


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite database; none for other databases.

    Raises:
        UsageError: not a database URL.
    """
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise UsageError(
            "--storage must be a database URL such as sqlite:///study.db or postgresql://host/name."
        ) from error
    if parsed.get_backend_name() != "sqlite":
        return None
    return Path(parsed.database or "")


def masked(url: str) -> str:
    """A database URL fit for a message or a log: without the password."""
    parsed = make_url(url)
    secrets = {name: "***" for name in parsed.query if "pass" in name.lower()}
    return parsed.update_query_dict(secrets).render_as_string(hide_password=True)


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what Optuna, SQLAlchemy and sqlite3 raise into a StorageProblem of one line."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        reason = " ".join(str(getattr(cause, "orig", None) or cause or error).split())[:200]
        raise StorageProblem(f"The database {masked(url)} cannot be used: {reason}") from error
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or getattr(error, "name", None) or "its driver"
        raise StorageProblem(
            f"The database {masked(url)} needs a package that is not installed: {missing}. Install it with pip."
        ) from error
