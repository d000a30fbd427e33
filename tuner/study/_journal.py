"""Keep changes on the local disk until they are in the database."""

import contextlib
import logging
import os
from pathlib import Path

from tuner.exceptions import MachineError
from tuner.study._changes import Change

logger = logging.getLogger("tuner")


class Journal:
    """Journal of pending changes, `journal.jsonl` in the study's folder.

    It has one change per line, oldest first. It is empty when all changes are in the database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some file systems do not support it
            os.fsync(folder)  # makes the file name durable too
        os.close(folder)

    def read(self) -> tuple[Change, ...]:
        """Return the changes that an earlier driver did not write to the database; skip a last line that is cut off."""
        changes = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                changes.append(Change.decoded(line))
            except ValueError:
                logger.warning(
                    "%s ends with an invalid line, which is skipped; trainers will report it again", self._path
                )
                break
        return tuple(changes)

    def append(self, change: Change) -> None:
        """Append one change and wait until it is on disk.

        Raises:
            MachineError: The journal cannot be written; it is unchanged.
        """
        before = os.fstat(self._fd).st_size
        data = (change.encoded() + "\n").encode()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, before)
            raise MachineError(
                f"The study's journal must be writable, but '{self._path}' is not ({error.strerror}); "
                "free disk space, then run the same command to resume."
            ) from error

    def set_aside(self) -> Path:
        """Move the journal's content to another file in the same folder and return that file."""
        kept = self._path.with_suffix(".refused.jsonl")
        with kept.open("ab") as file:
            file.write(self._path.read_bytes())
            os.fsync(file.fileno())
        self.clear()
        return kept

    def clear(self) -> None:
        """Empty the journal, once all its changes are in the database."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
