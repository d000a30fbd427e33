"""Decoded images that all runs of this user on this machine share: files in the cache folder, bounded in total.

An entry is a file of its own, written under a temporary name and renamed, so readers need no lock. It is read into
memory of the reader, which takes about as long as mapping it and cannot end in a bus error. What the runs share is the
page cache of the kernel. An entry that is damaged or cannot be read or written is only a missing one.

The sum of all sizes is a number in one file, changed under a lock. A writer that finds no room removes the entries that
were not used for longest, but none that was used since the oldest live trainer began: those belong to a run that may
need them in its next epoch. Each trainer holds a lock on a file for as long as it lives, and sets the time of an entry
when it first reads it. Removing an entry that another process is just reading does it no harm: the file exists until it
is closed.
"""

import fcntl
import logging
import os
import secrets
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.system.cache import cache_folder

_MARK = b"DECODED1"
_HEADER = struct.Struct("<8sQ5I")
"""Mark of the format, checksum, height and width of the original, height, width and channels of the pixels."""
_PIXELS_AT = 64
"""Bytes before the pixels."""
_BLOCK_BYTES = 4096
"""Unit in which file systems allocate space."""

_LEFT_FREE_BYTES = 2 * 2**30
"""Free space of the disk that is left to other files."""
_ROOM_SHARE = 0.05
"""Share of the bound to free at once, because it takes a look at every entry."""
_UNUSED_S = 30 * 24 * 3600.0
"""Age at which an entry is removed even if there is room."""
_DRAFT_S = 3600.0
"""Age of a draft whose writer was killed."""
_PAUSE_S = 600.0
"""Time until entries are looked at again after there was nothing to remove."""
_TIDY_EVERY_S = 600.0
_LOCK_S, _LOCK_POLL_S = 1.0, 0.001
"""Longest wait for the lock, whose holder may have been stopped, and the interval between two attempts."""
_WITHOUT_LOCK_S = 10.0
"""Time in which a process adds nothing after it waited for the lock in vain."""

_SUM = struct.Struct("<qd")
"""Bytes of all entries, and when there was last nothing to remove, in seconds since 1970."""

logger = logging.getLogger("trainer")


def folder() -> Path:
    """Return the folder of the decoded images; it may not exist yet."""
    return cache_folder() / "decoded"


def used_bytes() -> int:
    """Return the bytes of all entries; 0 if there are none."""
    try:
        return max(_numbers((folder() / "sum").read_bytes()[: _SUM.size])[0], 0)
    except OSError:
        return 0


class Decoded(NamedTuple):
    """Decoded image, resized for training."""

    pixels: NDArray[np.uint8]
    """Pixels of shape (height, width, channels), free to be changed by the caller."""
    original: tuple[int, int]
    """Height and width before it was resized."""


class Lease:
    """Sign of a live trainer, until this process and all its forks have ended."""

    def __init__(self) -> None:
        self.began_ns = time.time_ns()
        """Time since which used entries are kept."""
        self._file: int | None = None
        path = folder() / "trainers" / f"{os.getpid()}-{secrets.token_hex(4)}"
        with suppress(OSError):  # without it, entries may be removed too early
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.began_ns = os.fstat(self._file).st_mtime_ns


@cache
def lease() -> Lease:
    """Return the lease of this process, or of the one that it was forked from."""
    return Lease()


class DecodedImages:
    """The shared images, as one process reads and adds them."""

    def __init__(self, bound_bytes: int) -> None:
        """Use the folder.

        Args:
            bound_bytes: Bytes that all entries together may have for this process to add one.
        """
        self._folder = folder()
        self._bound_bytes = bound_bytes
        self._began_ns = lease().began_ns
        self._adds = True
        self._adds_again_s = 0.0
        self._has_reported_damage = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._folder / "sum", os.O_RDWR | os.O_CREAT, 0o644))
        except OSError as error:
            self._stop_adding(error)

    def get(self, key: str) -> Decoded | None:
        """Return the image that was added under this key; None if there is none that can be used."""
        path = self._path(key)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            status = os.fstat(file)
            content = np.empty(status.st_size, np.uint8)
            got = os.readv(file, [content.data]) if status.st_size else 0
            if status.st_mtime_ns < self._began_ns:
                with suppress(OSError):  # read-only
                    os.utime(file)
        except (OSError, MemoryError):
            return None
        finally:
            os.close(file)
        decoded = _decoded(content) if got == status.st_size else None
        if decoded is None:
            self._drop(path, status.st_size)
        return decoded

    def add(self, key: str, decoded: Decoded) -> None:
        """Add an image, if there is room for it."""
        path = self._path(key)
        if not self._adds or time.monotonic() < self._adds_again_s:
            return
        if os.path.exists(path):  # noqa: PTH110 - Path.exists raises if a folder cannot be entered
            return
        head, padding = _header(decoded)
        size = _PIXELS_AT + decoded.pixels.nbytes + len(padding)
        draft = path.with_name(f".{key}.{secrets.token_hex(4)}.tmp")
        try:
            if not self._reserve(draft, size):
                return
            try:
                with draft.open("r+b") as file:
                    file.write(head)
                    file.write(np.ascontiguousarray(decoded.pixels).data)
                    file.write(padding)
                draft.replace(path)
            except BaseException:
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
                self._change(-_on_disk(size))
                raise
        except BlockingIOError:
            self._adds_again_s = time.monotonic() + _WITHOUT_LOCK_S
        except OSError as error:
            self._stop_adding(error)

    def tidy(self) -> None:
        """Remove what is left of killed writers, what was not used for long, and what is above the bound.

        Does nothing if the folder has been changed within ten minutes and is within the bound.
        """
        if not self._adds:
            return
        try:
            with self._sum() as file:
                unchanged_s = time.time() - os.fstat(file).st_mtime
                if unchanged_s > _TIDY_EVERY_S or used_bytes() > self._bound_bytes:
                    self._make_room(file, 0)
        except BlockingIOError:
            pass
        except OSError as error:
            self._stop_adding(error)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / key

    def _reserve(self, draft: Path, size: int) -> bool:
        """Create the draft of an entry, empty but of its size, and count it in; return whether there is room for it."""
        taken = _on_disk(size)
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < _LEFT_FREE_BYTES + taken:
            self._adds = False
            logger.info("decoded images are no longer added to %s: its disk is nearly full", self._folder)
            return False
        with self._sum() as file:
            total, fruitless_s = _numbers(os.pread(file, _SUM.size, 0))
            if total + taken > self._bound_bytes:
                if 0 <= time.time() - fruitless_s < _PAUSE_S or not self._make_room(file, taken):
                    return False
                total = _numbers(os.pread(file, _SUM.size, 0))[0]
            draft.parent.mkdir(exist_ok=True)
            with draft.open("xb") as created:
                created.truncate(size)  # under the lock, so that who counts all entries again counts this one
            os.pwrite(file, _SUM.pack(total + taken, 0.0), 0)
        return True

    def _change(self, by: int) -> None:
        with suppress(OSError), self._sum() as file:
            total, fruitless_s = _numbers(os.pread(file, _SUM.size, 0))
            os.pwrite(file, _SUM.pack(max(total + by, 0), fruitless_s), 0)

    @contextmanager
    def _sum(self) -> Iterator[int]:
        """Hold the lock on the sum, and yield its file.

        Raises:
            BlockingIOError: Another process holds it for too long.
        """
        file = os.open(self._folder / "sum", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            deadline_s = time.monotonic() + _LOCK_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline_s:
                        raise
                    time.sleep(_LOCK_POLL_S)
            yield file
        finally:
            os.close(file)

    def _make_room(self, file: int, size: int) -> bool:
        """Count all entries again, and remove the oldest ones until another fits; return whether it does.

        The count can miss an entry that is renamed meanwhile, at most one of each writer. A lock for each rename would
        prevent it, but slow all writers down.
        """
        now_s = time.time()
        entries = sorted(self._entries(now_s))
        total = sum(entry.size for entry in entries)
        most = self._bound_bytes if total + size <= self._bound_bytes else int(self._bound_bytes * (1 - _ROOM_SHARE))
        kept_since_ns = min(_live_since_ns(self._folder), self._began_ns)
        for entry in entries:
            is_old = entry.used_ns < (now_s - _UNUSED_S) * 1e9
            if entry.used_ns >= kept_since_ns or (total + size <= most and not is_old):
                break
            with suppress(FileNotFoundError):
                os.unlink(entry.path)  # noqa: PTH108 - for up to a million entries
            total -= entry.size
        fits = total + size <= self._bound_bytes
        os.pwrite(file, _SUM.pack(total, 0.0 if fits else now_s), 0)
        return fits

    def _entries(self, now_s: float) -> Iterator["_Entry"]:
        """List all entries and the drafts of live writers; remove the others."""
        for part in self._folder.iterdir():
            if len(part.name) != 2:
                continue
            with os.scandir(part) as found:
                for item in found:
                    with suppress(FileNotFoundError):
                        status = item.stat()
                        if item.name.startswith(".") and status.st_mtime < now_s - _DRAFT_S:
                            os.unlink(item.path)  # noqa: PTH108
                        else:
                            yield _Entry(status.st_mtime_ns, _on_disk(status.st_size), item.path)

    def _drop(self, path: Path, size: int) -> None:
        """Remove a damaged entry, so that it is written again."""
        if not self._has_reported_damage:
            self._has_reported_damage = True
            logger.warning("the decoded image %s is damaged; such images are decoded again", path)
        try:
            path.unlink()
        except OSError:
            return
        self._change(-_on_disk(size))

    def _stop_adding(self, error: OSError) -> None:
        if self._adds:
            logger.warning("decoded images are not added to %s: %s", self._folder, error)
        self._adds = False


class _Entry(NamedTuple):
    used_ns: int
    size: int
    path: str


def _numbers(content: bytes) -> tuple[int, float]:
    """Return the sum of all sizes and the time of the last fruitless look; zeros if the file is new or damaged."""
    if len(content) != _SUM.size:
        return 0, 0.0
    total, fruitless_s = _SUM.unpack(content)
    return total, fruitless_s


def _live_since_ns(root: Path) -> int:
    """Return when the oldest live trainer began, in ns since 1970, or now; remove the signs of dead ones."""
    since_ns = time.time_ns()
    with suppress(OSError):
        for path in (root / "trainers").iterdir():
            with suppress(OSError):
                file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
                except BlockingIOError:
                    since_ns = min(since_ns, os.fstat(file).st_mtime_ns)
                finally:
                    os.close(file)
    return since_ns


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _header(decoded: Decoded) -> tuple[bytes, bytes]:
    """Return the bytes before and after the pixels; the checksum makes the 64-bit words of the file add up to 0."""
    pixels = np.ascontiguousarray(decoded.pixels).reshape(-1)
    padding = bytes(-len(pixels) % 8)
    height, width, channels = decoded.pixels.shape
    facts = (*decoded.original, height, width, channels)
    head = _HEADER.pack(_MARK, 0, *facts).ljust(_PIXELS_AT, b"\0")
    words = len(pixels) // 8 * 8
    total = _total(np.frombuffer(head, np.uint8)) + _total(pixels[:words])
    total += _total(np.frombuffer(bytes(pixels[words:]) + padding, np.uint8))
    return _HEADER.pack(_MARK, -total % 2**64, *facts).ljust(_PIXELS_AT, b"\0"), padding


def _total(content: NDArray[np.uint8]) -> int:
    return int(np.add.reduce(content.view(np.uint64), dtype=np.uint64)) if len(content) else 0


def _decoded(content: NDArray[np.uint8]) -> Decoded | None:
    """Return the image in the content of an entry; None if it is damaged."""
    if len(content) < _PIXELS_AT or len(content) % 8 or _total(content) != 0:
        return None
    mark, _, original_height, original_width, height, width, channels = _HEADER.unpack_from(content.data)
    size = height * width * channels
    if mark != _MARK or not size or len(content) != _PIXELS_AT + size + -size % 8:
        return None
    pixels = content[_PIXELS_AT : _PIXELS_AT + size].reshape(height, width, channels)
    return Decoded(pixels, (original_height, original_width))
