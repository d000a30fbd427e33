"""Download a data set that is given by URL, once for all runs on this machine.

The copy is in the user's cache folder, under a name that depends on the names, sizes and versions of the remote files:
if these change, it is another copy. It gets its name when it is complete. A download that was interrupted continues.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from trainer.exceptions import DataError
from trainer.system import atomic_files
from trainer.system.cache import cache_folder
from trainer.system.remote_folder import open_file_system, told
from tuner.contract.locations import without_credentials

_FILES = frozenset({".yaml", ".yml", ".json"})
"""Suffixes of URLs that name a file of a data set; any other URL names its folder."""

_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "mtime")
"""Keys by which file systems tell that a file has changed."""

logger = logging.getLogger("trainer")


@dataclass(frozen=True, slots=True)
class _Remote:
    """File of a remote data set."""

    path: str
    size: int
    version: str


def fetched(url: str) -> Path:
    """Return the local copy of what a URL names: the YAML or JSON file of a data set, or its folder.

    All files of the folder are copied, for a file those of the folder that it is in.

    Raises:
        DataError: Nothing is there, it cannot be read, or it has a file name that leads out of its folder.
    """
    place, _, file = (
        url.rstrip("/").rpartition("/") if PurePosixPath(url).suffix in _FILES else (url.rstrip("/"), "", "")
    )
    folder = cache_folder() / "data" / hashlib.sha256(place.encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_files.held(folder / "download.lock"):
            copy = _copy(place, folder)
    except DataError:
        raise
    except Exception as error:  # each file system raises its own errors
        raise DataError(
            f"A data set must be readable, but '{without_credentials(url)}' is not ({told(error)}); check the URL, the "
            "network and the credentials of this machine."
        ) from error
    return copy / file if file else copy


def _copy(place: str, folder: Path) -> Path:
    system, root = open_file_system(place)
    files = _listed(system, root)
    if not files:
        raise DataError(
            f"A data set must have files, but there are none at '{without_credentials(place)}'; check the URL."
        )
    listing = json.dumps([(name, file.size, file.version) for name, file in sorted(files.items())])
    copy = folder / hashlib.sha256(listing.encode()).hexdigest()[:32]
    if copy.is_dir():
        return copy
    part = copy.with_suffix(".part")
    logger.info("downloading %d files of %s", len(files), without_credentials(place))
    for name, file in files.items():
        target = part / name
        if not (target.is_file() and target.stat().st_size == file.size):
            _download(system, file, target)
    part.rename(copy)
    return copy


def _listed(system: Any, root: str) -> Mapping[str, _Remote]:
    """Return the files below a folder by their names there."""
    found: dict[str, _Remote] = {}
    for path, entry in system.find(root, detail=True).items():
        name = str(path).removeprefix(str(root)).lstrip("/")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name:
            raise DataError(f"Files of a data set must be in its folder, but got '{name[:100]}'; rename the file.")
        version = next((str(entry[key]) for key in _VERSIONS if entry.get(key)), "")
        found[name] = _Remote(path=str(path), size=int(entry["size"]), version=version)
    return found


def _download(system: Any, file: _Remote, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = atomic_files.staging_path(target)
    system.get_file(file.path, str(draft))
    if draft.stat().st_size != file.size:
        raise OSError(f"{target.name} arrived incomplete")
    draft.replace(target)
