"""Pass the number of devices that a run may use through a folder: a queue writes `granted`, the run writes `wanted`.

Both files are replaced whole. They hold a number; `wanted` may hold `all` instead.
"""

import contextlib
from pathlib import Path
from typing import TypeVar

from tuner.system.atomic_files import write_whole

VARIABLE = "TUNE_GRANT"
"""Environment variable that names the folder; without it, nobody limits the run."""

_Default = TypeVar("_Default", int, None)

_GRANTED = "granted"
_WANTED = "wanted"


def write_granted(folder: Path, devices: int) -> None:
    """Grant a number of devices to the run that reads this folder."""
    _write(folder / _GRANTED, devices)


def read_granted(folder: Path, default: int) -> int:
    """Return the number that was granted, or the default if there is none."""
    return _read(folder / _GRANTED, default)


def write_wanted(folder: Path, devices: int | None) -> None:
    """Report how many devices the run could use; None for as many as there are."""
    _write(folder / _WANTED, devices)


def read_wanted(folder: Path) -> int | None:
    """Return how many devices the run could use; None for as many as there are, or if it has not reported a number."""
    return _read(folder / _WANTED, None)


def _read(path: Path, default: _Default) -> int | _Default:
    try:
        return max(0, int(path.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return default


def _write(path: Path, number: int | None) -> None:
    with contextlib.suppress(OSError):  # on a full disk, the number before it still holds
        write_whole(path, b"all" if number is None else str(number).encode())
