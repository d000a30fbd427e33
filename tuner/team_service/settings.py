"""Define the settings of the service."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.exceptions import UsageError
from tuner.study_queue.table import queue_url


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceSettings:
    """Settings that `tune serve` was started with."""

    home: Path
    """Folder that holds the studies."""
    storage: str | None
    """URL of the database of the studies; None for the SQLite files in their folders."""
    cluster: str | None = None
    """Address of Ray's Jobs API; None for the cluster on this machine."""
    data_roots: tuple[Path, ...] = ()
    """Folders, without links, below which submitted data sets and models must lie."""
    is_private: bool = False
    """True if users see only their own studies."""

    @property
    def database(self) -> str:
        """URL of the database with the queue, the tokens and the sessions."""
        return database_of(self.home, self.storage)

    @property
    def folder(self) -> Path:
        """Folder of the service's own files."""
        return service_folder(self.home)


def database_of(home: Path, storage: str | None) -> str:
    """Return the database of the queue and of the tokens for the options of a command."""
    environment: Mapping[str, str] = {"TUNE_HOME": str(home), **({"TUNE_STORAGE": storage} if storage else {})}
    return queue_url(environment)


def service_folder(home: Path) -> Path:
    """Return the folder of the service's own files, in that of the studies."""
    return home.absolute() / ".service"


def resolved_roots(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the folders of `--data-root` without links.

    Raises:
        UsageError: One is not a folder, or everything is below it.
    """
    roots = []
    for folder in folders:
        root = folder.absolute().resolve()
        if not root.is_dir():
            raise UsageError(f"--data-root must be a folder, but '{folder}' is not; create it, or correct the path.")
        if root == Path(root.anchor):
            raise UsageError("--data-root must not be '/', below which all files lie; name the folder of the data.")
        roots.append(root)
    return tuple(roots)
