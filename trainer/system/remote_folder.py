"""Open any file system that fsspec knows, with timeouts, and describe its errors without credentials."""

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


def protocol_of(url: str) -> str:
    """Return the protocol of a URL; `file` for a path."""
    return url.partition("://")[0] if is_url(url) else "file"


def open_file_system(url: str) -> tuple[Any, str]:
    """Return the file system behind a URL or path, and the path of the URL there; raise any error of that file system.

    Nothing is cached: other machines change the files, and a broken connection must not be used again.
    """
    import fsspec

    timeouts = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": _TRIES}}
    options: dict[str, Any] = {"config_kwargs": timeouts} if protocol_of(url) in S3 else {}
    system, path = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
    return system, str(path)


def told(error: BaseException) -> str:
    """Describe an error of a file system in one line, without credentials that a URL in it may contain."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {shown(text)}" if text else type(error).__name__


def shown(url: str) -> str:
    """Return a URL without user, password and query, which may be credentials."""
    return _QUERY.sub("", _USER_INFO.sub("", url))
