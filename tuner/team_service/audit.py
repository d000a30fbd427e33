"""Keep a log of who did what, when and from where."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from tuner.exceptions import MachineError
from tuner.system.printable import printable

_MAX_BYTES = 5 << 20
_BACKUPS = 5
_MOST_CHARACTERS = 300

logger = logging.getLogger("tuner.team_service")


class AuditLog:
    """JSON lines in a file, which is rotated at 5 MiB; five older ones stay. Safe for threads."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Prepare the log in a folder, which is created for this user alone.

        Raises:
            MachineError: The folder cannot be created.
        """
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103 - names and addresses of users
        except OSError as error:
            raise MachineError(
                f"--home must be writable for the audit log, but '{folder}' is not ({error.strerror}); choose another."
            ) from error
        self._clock = clock
        self._lock = threading.Lock()
        self._file = _AuditFile(
            folder / "audit.jsonl", maxBytes=_MAX_BYTES, backupCount=_BACKUPS, encoding="utf-8", delay=True
        )

    def note(self, *, did: str, who: str, role: str, address: str, study: str = "", outcome: str = "done") -> None:
        """Append a line. It never contains a token, a cookie or the text of a space."""
        facts: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock())),
            "did": did,
            "who": who,
            "role": role,
            "from": address,
            "study": study,
            "outcome": outcome,
        }
        line = json.dumps({name: printable(str(value))[:_MOST_CHARACTERS] for name, value in facts.items()})
        with self._lock:
            self._file.emit(logging.makeLogRecord({"msg": "%s", "args": (line,), "levelno": logging.INFO}))
            self._file.close()  # `tune token` writes and rotates the same file


class _AuditFile(RotatingFileHandler):
    """File that only its owner can read. What cannot be written is reported once per line, and stops nobody."""

    def _open(self) -> Any:
        opened = super()._open()
        os.fchmod(opened.fileno(), 0o600)
        return opened

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is the standard library's
        """Report the error: a full disk must not lock the team out."""
        logger.warning("a line of the audit log could not be written: %s", self.baseFilename)
