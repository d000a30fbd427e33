"""Push and pull the files of one run, by the rules of `tuner.contract.artifacts`."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from trainer.artifacts.file_system import Folder
from trainer.exceptions import Superseded
from trainer.system import atomic_files
from trainer.system.remote_folder import told
from tuner.contract.artifacts import (
    OBJECTS,
    Manifest,
    attempt_of,
    decode_manifest,
    encode_manifest,
    is_stored_name,
    manifest_name,
)
from tuner.contract.codec import ContractError
from tuner.contract.run_folder import LOG

_ATTEMPT = ".attempt"
"""Local file with the attempt that wrote the local files; it is hidden, so it is never pushed."""

_LEFT_OUT = (".tmp", ".lock")
"""Suffixes of files that only matter on this machine."""

_STACKS = "stacks/"
"""Folder with stack dumps that are not in the log yet (see `trainer.system.stack_dumps`)."""

logger = logging.getLogger("trainer")


class RunStore:
    """Folder of a run in a store, as one attempt uses it. Any method raises any error of the store."""

    def __init__(self, url: str, attempt: int) -> None:
        self._folder = Folder(url)
        self._attempt = attempt
        self._hashed: dict[tuple[int, int, int], str] = {}
        """Digest by inode, size and time of change: checkpoints are linked, so each is hashed once."""

    def pull(self, local: Path) -> None:
        """Claim the run for this attempt, and make the local folder that of the last attempt.

        If no other attempt has claimed the run since the local files were written, they are kept: they may be newer.
        A damaged or missing file is left out. The caller then falls back, as it does after damage on a disk.

        Raises:
            Superseded: A later attempt has claimed the run.
        """
        if self._attempt not in (earlier := self._attempts()):  # this attempt may be repeated by a new process
            self._folder.write(manifest_name(self._attempt), encode_manifest(Manifest(attempt=self._attempt)))
            earlier = [attempt for attempt in self._attempts() if attempt != self._attempt]
        self._require_latest(earlier)
        if earlier and attempt_here(local) < earlier[0]:
            self._install(self._newest(earlier), local)
        atomic_files.write_whole(local / _ATTEMPT, str(self._attempt).encode())

    def push(self, files: Path, epoch: int, *, ended: bool) -> None:
        """Push the files in a local folder, as they are after an epoch.

        Raises:
            Superseded: A later attempt has claimed the run.
        """
        known, digests = self._folder.names(OBJECTS), {}
        for name, file in stored_files(files):
            digests[name] = digest = self._digest(file)
            if digest not in known:
                self._folder.upload(file, f"{OBJECTS}/{digest}")
                known.add(digest)
        self._require_latest(self._attempts())
        manifest = Manifest(attempt=self._attempt, epoch=epoch, ended=ended, files=digests)
        self._folder.write(manifest_name(self._attempt), encode_manifest(manifest))
        self._remove_all_but(set(digests.values()))

    def _remove_all_but(self, named: set[str]) -> None:
        """Remove earlier manifests, and objects that the manifest of this attempt does not name."""
        objects = self._folder.names(OBJECTS)
        attempts = self._attempts()  # after our manifest: whoever claims the run from now on reads that one
        self._require_latest(attempts)
        for attempt in attempts:
            if attempt < self._attempt:
                self._folder.remove(manifest_name(attempt))
        for digest in objects - named:
            self._folder.remove(f"{OBJECTS}/{digest}")

    def _attempts(self) -> list[int]:
        """Return the attempts with a manifest, the latest first."""
        found = (attempt_of(name) for name in self._folder.names())
        return sorted((attempt for attempt in found if attempt is not None), reverse=True)

    def _require_latest(self, attempts: list[int]) -> None:
        if attempts and attempts[0] > self._attempt:
            raise Superseded(f"attempt {attempts[0]} has taken over this run from attempt {self._attempt}")

    def _newest(self, attempts: list[int]) -> Manifest | None:
        """Return the manifest with files of the latest of these attempts; None if there is none."""
        for attempt in attempts:
            try:
                manifest = decode_manifest(self._folder.read(manifest_name(attempt)))
            except (ContractError, FileNotFoundError) as error:
                logger.warning("the manifest of attempt %d in the store cannot be used: %s", attempt, error)
                continue
            if manifest.files is not None and manifest.attempt == attempt:
                return manifest
        return None

    def _install(self, manifest: Manifest | None, local: Path) -> None:
        """Replace the local files, except the log of this attempt, by those of a manifest."""
        for path in local.iterdir():
            if path.name != LOG:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        if manifest is None:
            return
        for name, digest in (manifest.files or {}).items():
            self._fetch(digest, local / name)
        logger.info("the store has epoch %d of this run, by attempt %d", manifest.epoch, manifest.attempt)

    def _fetch(self, digest: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = atomic_files.staging_path(target)
        try:
            self._folder.download(f"{OBJECTS}/{digest}", staged)
        except FileNotFoundError as error:
            logger.warning("%s is missing in the store (%s)", target.name, told(error))
            return
        if atomic_files.sha256(staged) != digest:
            logger.warning("%s in the store does not match its checksum", target.name)
            self._folder.remove(f"{OBJECTS}/{digest}")  # the same content can then be pushed again
            staged.unlink()
        elif target.name == LOG and target.exists():
            _prepend(staged, target)
        else:
            staged.replace(target)

    def _digest(self, file: Path) -> str:
        status = file.stat()
        key = (status.st_ino, status.st_size, status.st_mtime_ns)
        if key not in self._hashed:
            self._hashed[key] = atomic_files.sha256(file)
        return self._hashed[key]


def stored_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of all files below a run's folder that belong into a store."""
    for root, _, names in os.walk(folder):
        for file in sorted(Path(root) / name for name in names):
            name = str(file.relative_to(folder))
            is_wanted = is_stored_name(name) and not name.endswith(_LEFT_OUT) and not name.startswith(_STACKS)
            if is_wanted and file.is_file() and not file.is_symlink():
                yield name, file


def attempt_here(local: Path) -> int:
    """Return the attempt that has completed its pull into a folder of this machine; 0 for none."""
    try:
        return int((local / _ATTEMPT).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def _prepend(earlier: Path, log: Path) -> None:
    """Put the log of earlier attempts before that of this one, in place: a process has it open for appending."""
    lines = earlier.read_bytes().splitlines(keepends=True)
    known = set(lines)  # an attempt that this machine left behind may have pushed some of its lines
    own = [line for line in log.read_bytes().splitlines(keepends=True) if line not in known]
    with log.open("r+b") as file:
        file.write(b"".join([*lines, *own]))
        file.truncate()
    earlier.unlink()
