"""Check the place of a store, as the user gives it."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from tuner.exceptions import UsageError

VARIABLE = "TUNE_ARTIFACTS"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(?<=\w)\?\S*")


def is_url(given: str) -> bool:
    """Check whether a place is given by URL, not by a path that contains one."""
    return _URL.match(given) is not None


def checked_place(given: str, option: str = "--artifacts") -> str:
    """Return the URL of a store, or the absolute path of a folder.

    Args:
        given: URL or path.
        option: Option that the user gave it with.

    Raises:
        UsageError: The URL contains credentials, which every process of the cluster would see, or names no folder.
    """
    if not is_url(given):
        return str(Path(given).absolute())
    parts = urlsplit(given)
    if parts.username is not None or parts.password is not None or parts.query:
        raise UsageError(
            f"{option} must contain no user, password or query, but got '{shown(given)}' with one; put credentials "
            "into the environment of each machine, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if not parts.netloc and not parts.path.strip("/"):
        raise UsageError(f"{option} must name a folder, such as s3://bucket/team, but got '{given}'.")
    return given.rstrip("/")


def shown(text: str) -> str:
    """Return a text without the users, passwords and queries of URLs in it."""
    return _QUERY.sub("", _USER_INFO.sub("", text))
