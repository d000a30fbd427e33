"""Open any file system that fsspec knows, and describe its errors without credentials."""

from typing import Any

from tuner.contract.locations import opening_options, without_credentials


def open_file_system(url: str) -> tuple[Any, str]:
    """Return the file system behind a URL or path, and the path there; raise any error of that file system."""
    import fsspec

    system, path = fsspec.core.url_to_fs(url, **opening_options(url))
    return system, str(path)


def told(error: BaseException) -> str:
    """Describe an error of a file system in one line, without credentials that a URL in it may contain."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {without_credentials(text)}" if text else type(error).__name__
