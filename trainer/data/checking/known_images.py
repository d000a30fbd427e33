"""What is known of images by their content, so that none is decoded twice, wherever it lies.

A database in the user's cache folder, shared by all checks. Where it cannot be read or written, each check decodes.
"""

import hashlib
import json
import sqlite3
from contextlib import suppress
from types import TracebackType
from typing import Self

from trainer.data.checking.decoding import VERSION
from trainer.data.checking.images import FlawedImage, ImageFacts, ImageFlaw
from trainer.system.cache import cache_folder

_RULES = 1
"""To be raised with every change in `images` or `decoding`: what was judged before is judged anew then."""

_MOST = 1_000_000
"""Images that are kept, at half a kilobyte each; the oldest go first."""

_BUSY_SECONDS = 5.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS images (digest BLOB UNIQUE, about TEXT, small BLOB)"


class KnownImages:
    """Asked and told while it is entered; what was told is kept when it is left."""

    def __init__(self, channels: int) -> None:
        self._salt = f"{_RULES}, {VERSION}, {channels} channels"
        self._database: sqlite3.Connection | None = None
        self._new: list[tuple[bytes, str, bytes]] = []

    def __enter__(self) -> Self:
        file = cache_folder() / "images.sqlite"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA synchronous=OFF")  # a cache: what a crash breaks is made anew
            self._database.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            self._give_up()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                with suppress(OSError):
                    file.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(sqlite3.Error):
            if self._database is not None and self._new:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany("INSERT OR IGNORE INTO images VALUES (?, ?, ?)", self._new)
                self._database.execute("DELETE FROM images WHERE rowid <= (SELECT max(rowid) FROM images) - ?", [_MOST])
                self._database.execute("COMMIT")
        self._give_up()

    def digest(self, content: bytes, suffix: str) -> bytes:
        """What this content is known by."""
        digest = hashlib.sha256(content)
        digest.update(f"{self._salt}, {suffix}".encode())
        return digest.digest()

    def get(self, digest: bytes) -> ImageFacts | None:
        """What is known; none where nothing is."""
        if self._database is None:
            return None
        try:
            row = self._database.execute("SELECT about, small FROM images WHERE digest = ?", [digest]).fetchone()
            return None if row is None else _unpacked(*row)
        except (sqlite3.Error, ValueError, TypeError):  # another program's work, or a file system's
            self._give_up()
            return None

    def add(self, digest: bytes, facts: ImageFacts) -> None:
        """Note what was found out."""
        about = json.dumps([facts.width, facts.height, [[found.flaw.name, found.value] for found in facts.flaws]])
        self._new.append((digest, about, facts.small))

    def _give_up(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
        self._database = None


def _unpacked(about: str, small: bytes) -> ImageFacts:
    width, height, flaws = json.loads(about)
    found = tuple(FlawedImage(ImageFlaw[name], value) for name, value in flaws)
    return ImageFacts(width=width, height=height, flaws=found, small=small)
