"""Keep the sessions of browsers, which hold a cookie instead of a token."""

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator

import sqlalchemy
from sqlalchemy import Column, Float, Integer, String, Table

from tuner.storage.database import translated
from tuner.team_service.tokens import METADATA

SESSION_S = 12 * 3600.0
"""Time after which a browser must log in again, in seconds."""

_SESSIONS = Table(
    "tune_sessions",
    METADATA,
    Column("digest", String(64), primary_key=True),
    Column("token", Integer, nullable=False),
    Column("expires", Float, nullable=False),
)


class SessionTable:
    """The sessions in one database, so that they outlive the service; each belongs to a token."""

    def __init__(self, url: str, engine: sqlalchemy.Engine, clock: Callable[[], float] = time.time) -> None:
        """Attach to a database that has the table."""
        self._url = url
        self._engine = engine
        self._clock = clock

    def open(self, token: int) -> str:
        """Open a session for the token of a number, and return its cookie; remove sessions that are over."""
        cookie, now = secrets.token_urlsafe(32), self._clock()
        values = {"digest": _digest(cookie), "token": token, "expires": now + SESSION_S}
        with self._transaction() as connection:
            connection.execute(_SESSIONS.delete().where(_SESSIONS.c.expires <= now))
            connection.execute(_SESSIONS.insert().values(**values))
        return cookie

    def token_of(self, cookie: str) -> int | None:
        """Return the number of a session's token; None if the session is over, or never was."""
        mine = (_SESSIONS.c.digest == _digest(cookie)) & (_SESSIONS.c.expires > self._clock())
        with self._transaction() as connection:
            row = connection.execute(_SESSIONS.select().where(mine)).first()
        return None if row is None else int(row.token)

    def close(self, cookie: str) -> None:
        """End a session."""
        with self._transaction() as connection:
            connection.execute(_SESSIONS.delete().where(_SESSIONS.c.digest == _digest(cookie)))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlalchemy.Connection]:
        with translated(self._url), self._engine.begin() as connection:
            yield connection


def form_key(cookie: str) -> str:
    """Return what a form must repeat, so that only our own pages can send one (CSRF).

    It follows from the cookie, which other sites cannot read, and the cookie does not follow from it.
    """
    return hashlib.sha256(f"form:{cookie}".encode()).hexdigest()


def has_form_key(cookie: str, given: str) -> bool:
    """Check the key of a form in constant time."""
    return hmac.compare_digest(form_key(cookie).encode(), given.encode(errors="replace"))


def _digest(cookie: str) -> str:
    return hashlib.sha256(f"session:{cookie}".encode(errors="replace")).hexdigest()
