"""Keep measured epoch times in the user's cache folder for later runs."""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.system.atomic_files import write_whole
from tuner.system.paths import cache_folder

_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedEpoch:
    """Measured time of one epoch, with the time of the measurement."""

    seconds: float
    when_s: float
    """Time of the measurement by the system clock, in seconds since 1970."""

    def source(self, now_s: float) -> str:
        """Describe the source and age of the time in words."""
        return f"measured {_age(now_s - self.when_s)} on the first epoch of the default configuration"


def keep(what: Sequence[object], timed: TimedEpoch) -> None:
    """Keep the time of an epoch, if the cache folder is writable.

    Args:
        what: Everything that the time depends on, as JSON values.
        timed: Time to keep.
    """
    file = _file(what)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps({"seconds": timed.seconds, "when_s": timed.when_s}).encode())


def kept(what: Sequence[object]) -> TimedEpoch | None:
    """Return the time kept for the same `what`; None if there is no valid one."""
    try:
        found = json.loads(_file(what).read_bytes())
        timed = TimedEpoch(seconds=float(found["seconds"]), when_s=float(found["when_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return timed if 0 < timed.seconds < math.inf and 0 < timed.when_s < math.inf else None


def timed_now(seconds: float) -> TimedEpoch:
    """Create the record of an epoch that has just ended."""
    return TimedEpoch(seconds=seconds, when_s=time.time())


def _file(what: Sequence[object]) -> Path:
    text = json.dumps(what, sort_keys=True)
    return cache_folder() / "epoch-times" / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def _age(seconds: float) -> str:
    for unit_s, unit in _UNITS:
        number = int(seconds // unit_s)
        if number >= 1:
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    return "just now"
