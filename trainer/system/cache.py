"""Where things lie that can be made again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """This package's folder below the user's cache folder; it need not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    base = cache if cache.is_absolute() else Path.home() / ".cache"
    return base / "mamba-yolo-tuner"
