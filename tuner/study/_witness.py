"""Notices that the files of a record are taken away from under the driver that has them open.

A file that was removed or replaced can still be written: what goes there is lost without an error. So its path is
compared with what was opened, by device and inode.
"""

import os
from collections.abc import Sequence
from pathlib import Path


class Witness:
    """Knows the study's folder and some files, all of which exist, as they were when it was made."""

    def __init__(self, folder: Path, files: Sequence[Path], later: Sequence[Path] = ()) -> None:
        """
        Args:
            later: files that need not exist yet; they are known as they are first seen.
        """
        self._folder = folder
        self._later = set(later)
        self._open = {path: _pinned(path) for path in (folder, *files)}

    def taken(self) -> str | None:
        """What was taken away, as a clause; none while everything is in its place."""
        for path in [path for path in self._later if path.exists()]:
            self._later.discard(path)
            self._open[path] = _pinned(path)
        return next((what for path, fd in self._open.items() if (what := self._fate(path, fd))), None)

    def folder_now(self) -> Path:
        """Where the study's folder is now; where it was, if it is nowhere."""
        now = Path(os.readlink(f"/proc/self/fd/{self._open[self._folder]}"))  # noqa: PTH115 - no path of the user's
        is_somewhere = os.fstat(self._open[self._folder]).st_nlink > 0
        return now if is_somewhere else self._folder

    def close(self) -> None:
        """Let go of the files."""
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
            return None  # nobody knows; whoever reads or writes will be told more
        if there is not None and os.path.samestat(there, opened):
            return None
        if path == self._folder and opened.st_nlink > 0:
            return f"the study's folder '{path}' was moved to '{self.folder_now()}'"
        return f"'{path}' was {'removed' if there is None else 'replaced by another'}"


def _pinned(path: Path) -> int:
    """A descriptor that keeps the inode from being used again, but opens nothing.

    SQLite's locks would go with any descriptor of the file that is closed, except one of this kind.
    """
    return os.open(path, os.O_PATH | os.O_CLOEXEC)
