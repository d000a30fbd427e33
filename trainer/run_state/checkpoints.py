"""Keep the checkpoints of one run so that a good one can be found after any crash or damage to a file.

    last.pt            the newest epoch
    previous.pt        the epoch before; removed when the run is complete
    best.pt            the validated epoch with the best values
    checkpoints.json   SHA-256 -> epoch (1-based) of these files

A file is good if its digest is listed. The list contains a new checkpoint before its file is in place, and still
contains the files that it replaces, so all complete files are listed at any time.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.exceptions import ModelError
from trainer.system import atomic_files
from tuner.contract.run_folder import BEST_WEIGHTS, LAST_WEIGHTS

LAST, PREVIOUS, BEST = LAST_WEIGHTS, "previous.pt", BEST_WEIGHTS
LISTING = "checkpoints.json"

logger = logging.getLogger("trainer")


class Checkpoints:
    """The checkpoints in one folder, which is created with the first one. For one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[str, int] = {}
        self._good: dict[str, str] | None = None  # file name -> digest, as this process knows them

    def publish(self, data: bytes, epoch: int, *, is_best: bool) -> None:
        """Make `data` the last checkpoint, the last one the previous one, and `data` the best if `is_best`.

        Raises:
            OSError: the checkpoint could not be written. The last checkpoint is then this one or the one before.
        """
        good = self._files()
        last, previous, best = (self._folder / name for name in (LAST, PREVIOUS, BEST))
        with self._announced(LAST, data, epoch) as (staged, digest):
            if LAST in good:
                # Without hard links, last.pt is missing for a moment, but there is always a good previous.pt.
                if not atomic_files.replace_by_link(last, previous):
                    last.replace(previous)
                good[PREVIOUS] = good[LAST]
            staged.replace(last)
            good[LAST] = digest
        if is_best:
            if not atomic_files.replace_by_link(last, best):
                atomic_files.stage(best, data).replace(best)
            good[BEST] = digest
        atomic_files.sync(self._folder)

    def rewrite(self, name: str, data: bytes) -> None:
        """Replace the content of a good checkpoint by another one of the same epoch."""
        good = self._files()
        with self._announced(name, data, self._listed[good[name]]) as (staged, digest):
            staged.replace(self._folder / name)
            good[name] = digest
        atomic_files.sync(self._folder)

    def keep(self, name: str) -> None:
        """Keep the last checkpoint under another name too; this class does not track that file."""
        if not atomic_files.replace_by_link(self._folder / LAST, self._folder / name):
            atomic_files.write_whole(self._folder / name, (self._folder / LAST).read_bytes())

    def recover(self, check: Callable[[Path, int], None]) -> int:
        """Make the newest usable checkpoint last.pt, or remove all of them, and log the choice with its reason.

        Args:
            check: called with an undamaged file and its epoch; raises ModelError if the file is unusable.

        Returns:
            The epoch (1-based) to resume from, 0 to start from scratch.
        """
        refused = []
        good = self._read_again()
        for name in (LAST, PREVIOUS):
            try:
                epoch = self._epoch(name)
                check(self._folder / name, epoch)
            except ModelError as error:
                refused.append(f"{name}: {error}")
                continue
            if name == PREVIOUS:
                (self._folder / PREVIOUS).replace(self._folder / LAST)
                good[LAST] = good.pop(PREVIOUS)
            if BEST not in good and (self._folder / BEST).exists():
                logger.warning("%s does not match its checksum: the next validated epoch replaces it", BEST)
                (self._folder / BEST).unlink(missing_ok=True)
            atomic_files.sync(self._folder)
            logger.info("resuming from epoch %d (%s)%s", epoch, name, f"; refused {refused[0]}" if refused else "")
            return epoch
        if self._listed or (self._folder / LAST).exists():
            logger.warning("starting from scratch; refused %s", "; ".join(refused))
        self.clear()
        return 0

    def restore_best(self) -> None:
        """Replace a best checkpoint that is missing or damaged by the last one."""
        good = self._read_again()
        if BEST in good or LAST not in good:
            return
        logger.warning("%s does not match its checksum: %s replaces it", BEST, LAST)
        self.keep(BEST)
        good[BEST] = good[LAST]

    def complete(self) -> None:
        """Remove the files that only an interrupted run needs."""
        for name in (LAST, PREVIOUS, BEST, LISTING):
            atomic_files.staging_path(self._folder / name).unlink(missing_ok=True)
        (self._folder / PREVIOUS).unlink(missing_ok=True)
        self._files().pop(PREVIOUS, None)

    def clear(self) -> None:
        """Remove all checkpoints."""
        for name in (LISTING, LAST, PREVIOUS, BEST):
            (self._folder / name).unlink(missing_ok=True)
            atomic_files.staging_path(self._folder / name).unlink(missing_ok=True)
        self._listed, self._good = {}, {}

    def _epoch(self, name: str) -> int:
        """Return the epoch of a good file."""
        digest = self._files().get(name)
        if digest is not None:
            return self._listed[digest]
        if (self._folder / name).exists():
            raise ModelError("it does not match its checksum (truncated, changed, or from another run)")
        raise ModelError("it is missing")

    @contextlib.contextmanager
    def _announced(self, name: str, data: bytes, epoch: int) -> Iterator[tuple[Path, str]]:
        """Stage a checkpoint and list it with all good ones; yield the path of the staged file and its digest."""
        good = self._files()
        self._folder.mkdir(parents=True, exist_ok=True)
        staged = atomic_files.stage(self._folder / name, data)
        try:
            digest = hashlib.sha256(data).hexdigest()
            listed = {known: self._listed[known] for known in good.values()} | {digest: epoch}
            atomic_files.write_whole(self._folder / LISTING, json.dumps(listed, indent=1).encode())
            self._listed = listed
            yield staged, digest
        finally:
            staged.unlink(missing_ok=True)  # frees the space on a full disk

    def _files(self) -> dict[str, str]:
        """Return the good files by name, as this process knows them."""
        return self._read_again() if self._good is None else self._good

    def _read_again(self) -> dict[str, str]:
        """Return the good files by name, as they are on disk now."""
        self._listed = _listing(self._folder / LISTING)
        paths = [path for name in (LAST, PREVIOUS, BEST) if (path := self._folder / name).is_file()]
        digests = {path.name: atomic_files.sha256(path) for path in paths if self._listed}
        self._good = {name: digest for name, digest in digests.items() if digest in self._listed}
        return self._good


def _listing(path: Path) -> dict[str, int]:
    """Read the digests on disk; empty if there is no valid list."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(body, dict):
        return {}
    return {digest: epoch for digest, epoch in body.items() if isinstance(epoch, int)}
