"""Read and write whole files of any file system that fsspec knows."""

import re
import tempfile
import uuid
from pathlib import Path
from typing import Any

_S3 = frozenset({"s3", "s3a"})
_WRITES_WHOLE = _S3 | {"gs", "gcs", "az", "abfs", "adl"}
"""Object stores, where a file appears as a whole when its upload is complete."""

_CONNECT_S, _READ_S, _TRIES = 5, 30, 2
"""Timeouts of S3 in seconds and number of attempts; by default, it tries an unreachable server for minutes."""

_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(?<=\w)\?\S*")


class Folder:
    """A folder by path or URL. Any method raises any error of the file system behind it."""

    def __init__(self, url: str) -> None:
        import fsspec

        protocol = url.partition("://")[0] if "://" in url else "file"
        timeouts = {"connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": _TRIES}}
        options: dict[str, Any] = {"config_kwargs": timeouts} if protocol in _S3 else {}
        self._system, self._root = fsspec.core.url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **options
        )
        self._writes_whole = protocol in _WRITES_WHOLE

    def names(self, folder: str = "") -> set[str]:
        """Return the names in a folder; none if there is no such folder."""
        try:
            self._system.invalidate_cache()
            return {
                str(path).rstrip("/").rpartition("/")[2] for path in self._system.ls(self._at(folder), detail=False)
            }
        except FileNotFoundError:
            return set()

    def read(self, name: str) -> bytes:
        """Return the content of a small file."""
        content: bytes = self._system.cat_file(self._at(name))
        return content

    def write(self, name: str, data: bytes) -> None:
        """Write a small file in the place of what may be there."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            self.upload(Path(file.name), name)

    def upload(self, file: Path, name: str) -> None:
        """Copy a local file here, in the place of what may be there; at every moment it is the old or the new one."""
        target = self._at(name)
        if self._writes_whole:
            self._system.put_file(str(file), target)
            return
        self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
        draft = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            self._system.put_file(str(file), draft)
            self._system.mv(draft, target)
        except BaseException:
            self.remove(draft.removeprefix(f"{self._root}/"))
            raise

    def download(self, name: str, file: Path) -> None:
        """Copy a file to a local one."""
        self._system.get_file(self._at(name), str(file))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._system.rm_file(self._at(name))
        except FileNotFoundError:
            return

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)


def told(error: BaseException) -> str:
    """Describe an error of a file system in one line, without credentials that a URL in it may contain."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {shown(text)}" if text else type(error).__name__


def shown(url: str) -> str:
    """Return a URL without user, password and query, which may be credentials."""
    return _QUERY.sub("", _USER_INFO.sub("", url))
