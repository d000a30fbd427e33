"""Detect that the files of a record were removed, moved or replaced while the driver has them open.

A removed or replaced file can still be written, but its content is lost without an error. So the device and inode of
each path are compared with those of the opened file.
"""

import os
from collections.abc import Sequence
from pathlib import Path


class Witness:
    """Watch over the study's folder and some of its files, which must exist at the start."""

    def __init__(self, folder: Path, files: Sequence[Path], later: Sequence[Path] = ()) -> None:
        """Open the folder and the files.

        Args:
            folder: Folder of the study.
            files: Files to watch.
            later: Files to watch as soon as they exist.
        """
        self._folder = folder
        self._later = set(later)
        self._open = {path: _pinned(path) for path in (folder, *files)}

    def taken(self) -> str | None:
        """Return what was removed, moved or replaced, as a clause; None if everything is in place."""
        for path in [path for path in self._later if path.exists()]:
            self._later.discard(path)
            self._open[path] = _pinned(path)
        found = next((what for path, fd in self._open.items() if (what := self._fate(path, fd))), None)
        # The folder once more: it may have been moved after it was looked at, and its files with it.
        return found and (self._fate(self._folder, self._open[self._folder]) or found)

    def folder_now(self) -> Path:
        """Return the current path of the study's folder; its last path if it was removed."""
        now = Path(os.readlink(f"/proc/self/fd/{self._open[self._folder]}"))  # noqa: PTH115 - no path of the user's
        is_somewhere = os.fstat(self._open[self._folder]).st_nlink > 0
        return now if is_somewhere else self._folder

    def close(self) -> None:
        """Close the files."""
        for fd in self._open.values():
            os.close(fd)
        self._open = {}

    def _fate(self, path: Path, fd: int) -> str | None:
        opened = os.fstat(fd)
        try:
            there = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            there = None
        except OSError:
            return None  # unknown; the next read or write raises a more specific error
        if there is not None and os.path.samestat(there, opened):
            return None
        if path == self._folder and opened.st_nlink > 0:
            return f"the study's folder '{path}' was moved to '{self.folder_now()}'"
        return f"'{path}' was {'removed' if there is None else 'replaced by another'}"


def _pinned(path: Path) -> int:
    """Return a descriptor that prevents the reuse of the inode, without opening the file.

    Closing any other kind of descriptor of the file would release SQLite's locks.
    """
    return os.open(path, os.O_PATH | os.O_CLOEXEC)
