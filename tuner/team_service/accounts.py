"""Open the tokens and sessions of a database."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy

from tuner.storage.database import own_engine, sqlite_path, translated
from tuner.team_service.sessions import SessionTable
from tuner.team_service.tokens import METADATA, Token, TokenTable


@dataclass(frozen=True, slots=True)
class Accounts:
    """Tokens and sessions of one database."""

    tokens: TokenTable
    sessions: SessionTable

    def token_of_session(self, cookie: str) -> Token | None:
        """Return the token of a session, if both are valid.

        Raises:
            StorageError: The database cannot be used.
        """
        number = self.sessions.token_of(cookie)
        return None if number is None else self.tokens.of_number(number)


@contextlib.contextmanager
def opened_accounts(url: str, clock: Callable[[], float] = time.time) -> Iterator[Accounts]:
    """Open the accounts of a database; create their tables, and the file, if they are missing.

    Raises:
        StorageError: The database cannot be used.
    """
    path = sqlite_path(url)
    if path is not None:
        os.makedirs(path.parent, mode=0o700, exist_ok=True)  # noqa: PTH103 - nobody else may read it
    with own_engine(url) as engine:
        with translated(url):
            _create(engine)
        yield Accounts(TokenTable(url, engine, clock), SessionTable(url, engine, clock))


def _create(engine: sqlalchemy.Engine) -> None:
    for table in METADATA.sorted_tables:
        try:
            table.create(engine, checkfirst=True)
        except sqlalchemy.exc.DBAPIError:
            if not sqlalchemy.inspect(engine).has_table(table.name):  # another process created it at the same time
                raise
