"""Check paths that users name, and find the user's cache folder."""

import os
from pathlib import Path

from tuner.exceptions import UsageError
from tuner.system.printable import printable


def checked_path(option: str, text: str) -> str:
    """The text itself, if it can stand in a table, a list of files and a command line to copy.

    Raises:
        UsageError: it has control characters, marks that turn the direction of writing, or bytes that are no UTF-8.
    """
    if printable(text) != text:
        raise UsageError(
            f"{option} must be a name without control characters and in UTF-8, but got '{text}'; rename it."
        )
    return text


def cache_folder() -> Path:
    """This product's folder below the user's cache folder; it need not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "mamba-yolo-tuner"
