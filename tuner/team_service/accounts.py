"""Open the tokens and sessions of a database."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tuner.storage.database import own_tables
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
    with own_tables(url, METADATA.sorted_tables) as engine:
        yield Accounts(TokenTable(url, engine, clock), SessionTable(url, engine, clock))
