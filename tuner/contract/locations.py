"""Read the locations that tuner and trainer share: paths, and URLs of file systems that fsspec knows."""

import re
from typing import Any

S3 = frozenset({"s3", "s3a"})

_CONNECT_S, _READ_S, _TRIES = 5, 30, 2
"""Timeouts of S3 in seconds and number of attempts; by default, it tries an unreachable server for minutes."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(?<=\w)\?\S*")


def is_url(text: str) -> bool:
    """Check whether a text is a URL, not a path that contains one."""
    return _URL.match(text) is not None


def protocol_of(location: str) -> str:
    """Return the protocol of a URL; `file` for a path."""
    return location.partition("://")[0] if is_url(location) else "file"


def without_credentials(text: str) -> str:
    """Return a text without the users, passwords and queries of URLs in it."""
    return _QUERY.sub("", _USER_INFO.sub("", text))


def opening_options(location: str) -> dict[str, Any]:
    """Return the options with which `fsspec.core.url_to_fs` opens a location.

    Nothing is cached: other machines change the files, and a broken connection must not be used again.
    """
    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if protocol_of(location) in S3:
        timeouts = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": _TRIES}}
        options["config_kwargs"] = timeouts
    return options
