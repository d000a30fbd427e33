"""Cache what is known about images by their content, so that no image is decoded twice, wherever its file is.

The cache is a database in the user's cache folder that all checks share. If it cannot be read or written, each check
decodes the images itself.
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
"""Version of the rules. Raise it with every change in `images` or `decoding`, so that all images are judged again."""

_MOST = 1_000_000
"""Number of images to keep, at half a kilobyte each; the oldest are dropped first."""

_BUSY_SECONDS = 5.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS images (digest BLOB UNIQUE, about TEXT, small BLOB)"


class KnownImages:
    """Image facts by content. Usable as a context manager, which saves new facts on exit."""

    def __init__(self, channels: int) -> None:
        self._salt = f"{_RULES}, {VERSION}, {channels} channels"
        self._database: sqlite3.Connection | None = None
        self._new: list[tuple[bytes, str, bytes]] = []

    def __enter__(self) -> Self:
        file = cache_folder() / "images.sqlite"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(file, timeout=_BUSY_SECONDS, isolation_level=None)
            self._database.execute(
                "PRAGMA synchronous=OFF"
            )  # it is only a cache: anything that a crash breaks is built again
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
        """Return the key of this content."""
        digest = hashlib.sha256(content)
        digest.update(f"{self._salt}, {suffix}".encode())
        return digest.digest()

    def get(self, digest: bytes) -> ImageFacts | None:
        """Return the known facts, or None."""
        if self._database is None:
            return None
        try:
            row = self._database.execute("SELECT about, small FROM images WHERE digest = ?", [digest]).fetchone()
            return None if row is None else _unpacked(*row)
        except (
            sqlite3.Error,
            ValueError,
            TypeError,
        ):  # the database may be damaged by another program or the file system
            self._give_up()
            return None

    def add(self, digest: bytes, facts: ImageFacts) -> None:
        """Add new facts; they are saved on exit."""
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
