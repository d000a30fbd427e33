"""Read and write whole files of any file system that fsspec knows."""

import tempfile
import uuid
from pathlib import Path

from trainer.system.remote_folder import open_file_system
from tuner.contract.locations import S3, protocol_of

_WRITES_WHOLE = S3 | {"gs", "gcs", "az", "abfs", "adl"}
"""Object stores, where a file appears as a whole when its upload is complete."""


class Folder:
    """A folder by path or URL. Any method raises any error of the file system behind it."""

    def __init__(self, url: str) -> None:
        self._system, self._root = open_file_system(url)
        self._writes_whole = protocol_of(url) in _WRITES_WHOLE

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
