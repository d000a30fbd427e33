"""Changes on their way to the database, safe on the local disk until they are in it."""

import contextlib
import logging
import os
from pathlib import Path

from tuner.exceptions import EnvironmentProblem
from tuner.study._changes import Change

logger = logging.getLogger("tuner")


class Journal:
    """`journal.jsonl` in the study's folder: one change a line, the oldest first; empty when all is in the database."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):  # not every file system can
            os.fsync(folder)  # the name too: what is appended later is found under it
        os.close(folder)

    def read(self) -> tuple[Change, ...]:
        """What a driver before this one did not get into the database. A line cut short by its death is left out."""
        changes = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                changes.append(Change.decoded(line))
            except ValueError:
                logger.warning("%s ends with a line that is no change; trainers will tell its record again", self._path)
                break
        return tuple(changes)

    def append(self, change: Change) -> None:
        """Add one change and wait until it is on the disk.

        Raises:
            EnvironmentProblem: the disk does not take it; the journal is as it was.
        """
        before = os.fstat(self._fd).st_size
        data = (change.encoded() + "\n").encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, before)
            raise EnvironmentProblem(
                f"The study's folder must take its journal, but '{self._path}' cannot be written ({error.strerror}); "
                "make room, then the same command goes on."
            ) from error

    def set_aside(self) -> Path:
        """Empty the journal, but keep what was in it in a file beside it. Returns that file."""
        kept = self._path.with_suffix(".refused.jsonl")
        with kept.open("ab") as file:
            file.write(self._path.read_bytes())
            os.fsync(file.fileno())
        self.clear()
        return kept

    def clear(self) -> None:
        """All of it is in the database."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)
