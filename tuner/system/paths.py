"""Check paths from users, and find the user's cache folder."""

import os
from pathlib import Path

from tuner.exceptions import UsageError
from tuner.system.printable import printable


def checked_path(option: str, text: str) -> str:
    """Return a path unchanged if it is safe in tables, lists of files and command lines to copy.

    Raises:
        UsageError: the text contains control characters, marks that change the direction of writing, or invalid UTF-8.
    """
    if printable(text) != text:
        raise UsageError(f"{option} must be valid UTF-8 without control characters, but got '{text}'; rename it.")
    return text


def cache_folder() -> Path:
    """Return our folder in the user's cache folder; it may not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "mamba-yolo-tuner"
