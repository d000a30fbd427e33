"""Keep the tokens of users in the database of the studies."""

import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from sqlalchemy import Column, Float, Integer, MetaData, String, Table

from tuner.exceptions import StorageError, UsageError
from tuner.storage.database import translated
from tuner.team_service.users import Role, User

METADATA = MetaData()
"""Tables of the service: those of tokens and of sessions."""

_TOKENS = Table(
    "tune_tokens",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    # The name until the token is revoked, then NULL: a name has one token at a time. A partial index would do this too,
    # but SQLite creates it after the table, and another process may write in between.
    Column("active", String(64), unique=True),
    Column("role", String(16), nullable=False),
    Column("public", String(16), nullable=False, unique=True),
    Column("salt", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TOKEN = re.compile(r"tune_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_SECRET_BYTES = 32
_MOST_DAYS = 36_500.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token without its secret, which nobody has but its user."""

    number: int
    name: str
    role: Role
    created: float
    """Times in seconds since 1970; None if there is none."""
    expires: float | None
    revoked: float | None

    def is_valid(self, now: float) -> bool:
        """Check whether the token lets its user in at a time, in seconds since 1970."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    @property
    def user(self) -> User:
        """The user whom the token lets in."""
        return User(name=self.name, role=self.role)


def digest_of(secret: str, salt: str) -> str:
    """Return the hash of a secret, which is all that the database keeps.

    A slow hash, such as scrypt, protects passwords, because people choose them from few. These secrets are 256 random
    bits: nobody can try them all, however fast the hash is, so one SHA-256 is enough and costs a request nothing. With
    the salt, equal secrets would have different hashes.
    """
    return hashlib.sha256(f"{salt}:{secret}".encode()).hexdigest()


class TokenTable:
    """The tokens in one database."""

    def __init__(self, url: str, engine: sqlalchemy.Engine, clock: Callable[[], float] = time.time) -> None:
        """Attach to a database that has the table."""
        self._url = url
        self._engine = engine
        self._clock = clock

    def add(self, name: str, role: Role, *, days: float | None = None) -> str:
        """Create a token and return it. It cannot be read again.

        Args:
            name: Name of its user, who owns what is submitted with it.
            role: Role of the user.
            days: Days until it expires; None for never.

        Raises:
            UsageError: The name or the days break a rule, or the name has a token already.
            StorageError: The database cannot be used.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                "NAME must be 1 to 64 letters, digits, '.', '_', '@' or '-', starting with a letter or digit, but got "
                f"{name!r}."
            )
        if days is not None and not 0 < days <= _MOST_DAYS:
            raise UsageError(f"--expires must be above 0 and at most {_MOST_DAYS:,.0f} days, but got {days:g}.")
        public, salt, secret = secrets.token_hex(8), secrets.token_hex(16), secrets.token_urlsafe(_SECRET_BYTES)
        now = self._clock()
        values = {
            "name": name,
            "active": name,
            "role": role.value,
            "public": public,
            "salt": salt,
            "digest": digest_of(secret, salt),
            "created": now,
            "expires": None if days is None else now + days * 86_400,
        }
        try:
            with self._transaction() as connection:
                connection.execute(_TOKENS.insert().values(**values))
        except StorageError as error:
            if not isinstance(error.__cause__, sqlalchemy.exc.IntegrityError):
                raise
            raise UsageError(
                f"'{name}' must have one token at most, but has one already; `tune token revoke {name}` ends it."
            ) from error
        return f"tune_{public}_{secret}"

    def tokens(self) -> list[Token]:
        """Return all tokens, revoked and expired ones too, in the order of creation."""
        with self._transaction() as connection:
            rows = connection.execute(_TOKENS.select().order_by(_TOKENS.c.number)).mappings()
            return [_token_of(row) for row in rows]

    def revoke(self, name: str) -> None:
        """End the token of a user, and the sessions that were opened with it.

        Raises:
            UsageError: There is no such token.
            StorageError: The database cannot be used.
        """
        ended = {"active": None, "revoked": self._clock()}
        with self._transaction() as connection:
            changed = connection.execute(_TOKENS.update().where(_TOKENS.c.active == name).values(**ended)).rowcount
        if not changed:
            raise UsageError(f"There is no token of {name!r} to revoke; `tune token list` lists them.")

    def found(self, text: str) -> Token | None:
        """Return the valid token of a text; None if there is none.

        The time that this takes depends on the public part alone: hashes are compared in constant time.

        Raises:
            StorageError: The database cannot be used.
        """
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        with self._transaction() as connection:
            row = connection.execute(_TOKENS.select().where(_TOKENS.c.public == match[1])).mappings().first()
        if row is None or not hmac.compare_digest(row["digest"], digest_of(match[2], row["salt"])):
            return None
        return self._if_valid(_token_of(row))

    def of_number(self, number: int) -> Token | None:
        """Return the token of a number if it is valid.

        Raises:
            StorageError: The database cannot be used.
        """
        with self._transaction() as connection:
            row = connection.execute(_TOKENS.select().where(_TOKENS.c.number == number)).mappings().first()
        return None if row is None else self._if_valid(_token_of(row))

    def has_valid(self) -> bool:
        """Check whether anybody can log in."""
        return any(token.is_valid(self._clock()) for token in self.tokens())

    def _if_valid(self, token: Token) -> Token | None:
        return token if token.is_valid(self._clock()) else None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlalchemy.Connection]:
        with translated(self._url), self._engine.begin() as connection:
            yield connection


def _token_of(row: Mapping[Any, Any]) -> Token:
    return Token(
        number=row["number"],
        name=row["name"],
        role=Role(row["role"]),
        created=row["created"],
        expires=row["expires"],
        revoked=row["revoked"],
    )
