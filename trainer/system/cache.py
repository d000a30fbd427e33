"""Location of the user cache directory, for files that can be recreated."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return this package's folder in the user's cache folder; it may not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    base = cache if cache.is_absolute() else Path.home() / ".cache"
    return base / "mamba-yolo-tuner"
