"""Read the files of a study's runs from its store, and remove those that are not needed."""

import hashlib
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tuner.contract import WEIGHTS
from tuner.contract.artifacts import (
    LAST_ATTEMPT,
    OBJECTS,
    Manifest,
    attempt_of,
    decode_manifest,
    encode_manifest,
    is_stored_name,
    manifest_name,
)
from tuner.contract.codec import ContractError
from tuner.contract.locations import opening_options, without_credentials
from tuner.exceptions import MachineError
from tuner.system.atomic_files import write_whole

_DRIVERS = "drivers"
_PER_DRIVER = 1_000_000
"""Attempts that one driver may number."""

_FETCHED = ".fetched"
"""Local file with the digest of the manifest whose files are there."""

logger = logging.getLogger("tuner")


class Store:
    """Folder of one study in a store."""

    def __init__(self, place: str, study: str) -> None:
        """Open the store, and check that it can be read and written.

        Args:
            place: URL or absolute path (see `tuner.artifacts.place`).
            study: Name of the study's folder there.

        Raises:
            MachineError: It cannot be read or written.
        """
        self.place = place
        self.url = f"{place}/{study}"
        with _translated(place):
            import fsspec

            self._system, self._root = fsspec.core.url_to_fs(self.url, **opening_options(place))
            self._is_local = "file" in self._protocols()
            self._probe()

    def claim(self) -> Callable[[], int]:
        """Return a function that numbers attempts, above those of all earlier drivers of the study.

        Only the holder of the study's lease may call it.

        Raises:
            MachineError: The store cannot be read or written.
        """
        with _translated(self.place):
            earlier = [int(name) for name in self._names(_DRIVERS) if name.isdecimal()]
            generation = max(earlier, default=0) + 1
            self._write(f"{_DRIVERS}/{generation:06d}", b"")
            for number in earlier:
                self._remove(f"{_DRIVERS}/{number:06d}")
        number = generation * _PER_DRIVER

        def attempt() -> int:
            nonlocal number
            number += 1
            return number

        return attempt

    def run_url(self, run: str) -> str:
        """Return the URL of a run's folder, by its path below the study's folder."""
        return f"{self.url}/{run}"

    def runs(self, group: str) -> list[str]:
        """Return the runs of a group, such as `trials`, by their paths below the study's folder.

        Raises:
            MachineError: The store cannot be read.
        """
        with _translated(self.place):
            # Others may have written to the store, and a name becomes a folder here.
            return sorted(f"{group}/{name}" for name in self._names(group) if is_stored_name(name))

    def has_ended(self, run: str) -> bool:
        """Check whether the last attempt at a run has pushed all of its files.

        Raises:
            MachineError: The store cannot be read.
        """
        with _translated(self.place):
            manifest = self._newest(run)
        return manifest is not None and manifest.ended

    def fetch(self, run: str, folder: Path, *, weights: bool) -> None:
        """Copy the files of a run into its folder here; with `weights`, those of its checkpoints too.

        Raises:
            MachineError: The store cannot be read, or a file is missing or damaged.
        """
        with _translated(self.place):
            manifest = self._newest(run)
            if manifest is None:
                return
            key = hashlib.sha256(encode_manifest(manifest) + bytes([weights])).hexdigest()
            if _read(folder / _FETCHED) == key:
                return
            for name, digest in (manifest.files or {}).items():
                if weights or not name.startswith(f"{WEIGHTS}/"):
                    self._fetch(f"{run}/{OBJECTS}/{digest}", digest, folder / name)
            _keep(folder / _FETCHED, key.encode())

    def remove(self, run: str) -> None:
        """Remove the files of a run for good: a machine that was cut off with it, and comes back, pushes nothing more.

        Raises:
            MachineError: The store cannot be written.
        """
        mark = manifest_name(LAST_ATTEMPT)
        with _translated(self.place):
            names = self._names(run)
            if mark not in names:
                self._write(f"{run}/{mark}", encode_manifest(Manifest(attempt=LAST_ATTEMPT)))
            for name in sorted(names - {mark}):  # manifests come before the objects that they name
                with suppress(FileNotFoundError):
                    self._system.rm(f"{self._root}/{run}/{name}", recursive=True)

    def _fetch(self, source: str, digest: str, target: Path) -> None:
        content = self._read(source)
        if hashlib.sha256(content).hexdigest() != digest:
            raise OSError(f"the content of {target.name} is damaged")
        _keep(target, content)

    def _newest(self, run: str) -> Manifest | None:
        """Return the manifest with files of the latest attempt at a run; None if there is none."""
        attempts = [attempt for name in self._names(run) if (attempt := attempt_of(name)) is not None]
        for attempt in sorted(attempts, reverse=True):
            try:
                manifest = decode_manifest(self._read(f"{run}/{manifest_name(attempt)}"))
            except (ContractError, FileNotFoundError) as error:
                logger.warning("a manifest of %s in the artifact store cannot be used: %s", run, error)
                continue
            if manifest.files is not None and manifest.attempt == attempt:
                return manifest
        return None

    def _probe(self) -> None:
        name, content = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(8)
        self._write(name, content)
        if self._read(name) != content:
            raise OSError("it does not return what was written")
        self._remove(name)

    def _names(self, folder: str) -> set[str]:
        try:
            self._system.invalidate_cache()
            paths = self._system.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return set()
        return {str(path).rstrip("/").rpartition("/")[2] for path in paths}

    def _read(self, name: str) -> bytes:
        content: bytes = self._system.cat_file(f"{self._root}/{name}")
        return content

    def _write(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        if self._is_local:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._system.pipe_file(path, content)

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._system.rm_file(f"{self._root}/{name}")

    def _protocols(self) -> tuple[Any, ...]:
        protocol = self._system.protocol
        return (protocol,) if isinstance(protocol, str) else tuple(protocol)


@contextmanager
def _translated(place: str) -> Iterator[None]:
    """Turn any error of a file system into one line, without credentials."""
    try:
        yield
    except ImportError as error:
        raise MachineError(
            f"The artifact store '{without_credentials(place)}' needs a package that is not installed: {error}; for "
            "S3, `pip install 'mamba-yolo-tuner[s3]'`."
        ) from error
    except MachineError:
        raise
    except Exception as error:  # each file system raises its own errors
        text = without_credentials(" ".join(str(error).split())[:300])
        raise MachineError(
            f"The artifact store must be readable and writable, but '{without_credentials(place)}' is not "
            f"({type(error).__name__}: {text}); check the URL, the network and the credentials, or choose another "
            "place with --artifacts."
        ) from error


def _keep(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
    except OSError as error:
        raise MachineError(f"The study's folder must be writable, but '{target}' is not ({error.strerror}).") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
