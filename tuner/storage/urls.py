"""Parse database URLs, and keep their passwords out of messages and command lines.

Importing this module does not import Optuna, because every command looks for a password in its arguments first.
"""

import re
from pathlib import Path
from urllib.parse import quote

import sqlalchemy.exc
from sqlalchemy.engine import URL, make_url

from tuner.exceptions import UsageError

_SECRET_NAMES = re.compile("pass|secret", re.IGNORECASE)


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file; its path may contain any characters."""
    return rendered(URL.create("sqlite", database=str(path)))


def sqlite_path(url: str) -> Path | None:
    """Return the file of an SQLite database; None for other databases.

    Raises:
        UsageError: The URL is not a database URL, or names an in-memory database.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise UsageError(
            f"An SQLite database must be given as the path of a file, sqlite:///study.db, but got {masked(url)}."
        )
    return Path(parsed.database)


def parsed_url(url: str) -> URL:
    """Parse a URL and set its driver: psycopg for PostgreSQL, unless the URL names another.

    Raises:
        UsageError: The text is not a database URL.
    """
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect()
        if "@" in (parsed.host or ""):  # the rest of a password that contains an "@"
            raise ValueError
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # Drop the cause: it may contain the password.
        raise UsageError(
            "--storage must be a database URL such as sqlite:///study.db or postgresql://user@host/name; in a "
            "password, '@', ':', '/' and '%' are written as %40, %3A, %2F and %25."
        ) from None
    return parsed


def rendered(url: URL) -> str:
    """Return a URL as text, with its password: never for a message."""
    return url.render_as_string(hide_password=False)


def masked(url: str) -> str:
    """Return a database URL without its password, safe for messages and logs."""
    parsed = make_url(url)
    secrets = {name: "***" for name in parsed.query if _SECRET_NAMES.search(name)}
    return parsed.update_query_dict(secrets).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def has_password(text: str) -> bool:
    """Check whether a text is a database URL that contains a secret."""
    try:
        parsed = make_url(text)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return False
    return parsed.password is not None or any(_SECRET_NAMES.search(name) for name in parsed.query)


def without_secrets(text: str, url: URL) -> str:
    """Mask secrets in a text; drivers may quote their connection arguments."""
    given = [url.password, *(value for name, value in url.query.items() if _SECRET_NAMES.search(name))]
    words = [word for value in given if value for word in ([value] if isinstance(value, str) else value)]
    for word in sorted({*words, *map(quote, words)}, key=len, reverse=True):
        text = text.replace(word, "***")
    return re.sub(r"(\w*(?:pass|secret)\w*\s*=\s*)('[^']*'|\S+)", r"\1***", text, flags=re.IGNORECASE)
