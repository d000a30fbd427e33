"""The checkpoints of one run, of which a good one can be found whatever happened to the process or to a file.

    last.pt            the newest epoch
    previous.pt        the one before; gone when the run is complete
    best.pt            the validated epoch with the best values
    checkpoints.json   SHA-256 -> epoch (1-based) of these files

A file is good when its digest is listed. The list names a new checkpoint before the checkpoint takes its place,
and still names those that it pushes out, so at every moment all whole files are listed.
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
    """The checkpoints in one folder, which need not exist before the first is published. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[str, int] = {}
        self._good: dict[str, str] | None = None  # file name -> digest, as far as this process knows

    def publish(self, data: bytes, epoch: int, *, is_best: bool) -> None:
        """Make `data` the last checkpoint, what was the last the previous one, and `data` the best if it is.

        Raises:
            OSError: it could not be written. The last checkpoint is then this one or the one before.
        """
        good = self._files()
        last, previous, best = (self._folder / name for name in (LAST, PREVIOUS, BEST))
        with self._announced(LAST, data, epoch) as (staged, digest):
            if LAST in good:
                # Where there are no hard links there is no last.pt for a moment, but always a good previous.pt.
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
        """Give a good checkpoint another content, of the same epoch."""
        good = self._files()
        with self._announced(name, data, self._listed[good[name]]) as (staged, digest):
            staged.replace(self._folder / name)
            good[name] = digest
        atomic_files.sync(self._folder)

    def keep(self, name: str) -> None:
        """Keep the last checkpoint under another name too; nobody here looks after that one."""
        if not atomic_files.replace_by_link(self._folder / LAST, self._folder / name):
            atomic_files.write_whole(self._folder / name, (self._folder / LAST).read_bytes())

    def recover(self, check: Callable[[Path, int], None]) -> int:
        """Make the newest usable checkpoint last.pt, or remove them all. The log is told what was chosen, and why.

        Args:
            check: given a file that is as it was written and its epoch, raises ModelError if it is of no use.

        Returns:
            The epoch (1-based) to go on from, 0 to start afresh.
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
                logger.warning("%s is not as it was written: the next validated epoch takes its place", BEST)
                (self._folder / BEST).unlink(missing_ok=True)
            atomic_files.sync(self._folder)
            logger.info("going on from epoch %d (%s)%s", epoch, name, f"; refused {refused[0]}" if refused else "")
            return epoch
        if self._listed or (self._folder / LAST).exists():
            logger.warning("starting afresh; refused %s", "; ".join(refused))
        self.clear()
        return 0

    def restore_best(self) -> None:
        """Put the last checkpoint in the place of a best one that is missing or not as it was written."""
        good = self._read_again()
        if BEST in good or LAST not in good:
            return
        logger.warning("%s is not as it was written: %s takes its place", BEST, LAST)
        self.keep(BEST)
        good[BEST] = good[LAST]

    def complete(self) -> None:
        """Remove what only an interrupted run needs."""
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
        """The epoch of a good file."""
        digest = self._files().get(name)
        if digest is not None:
            return self._listed[digest]
        if (self._folder / name).exists():
            raise ModelError("it is not as it was written (cut short, changed, or of another run)")
        raise ModelError("it is missing")

    @contextlib.contextmanager
    def _announced(self, name: str, data: bytes, epoch: int) -> Iterator[tuple[Path, str]]:
        """Stage a checkpoint and list it, with all that are good now. Gives where it is staged, and its digest."""
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
            staged.unlink(missing_ok=True)  # a disk that is full is not kept full

    def _files(self) -> dict[str, str]:
        """The good files by name, as this process knows them."""
        return self._read_again() if self._good is None else self._good

    def _read_again(self) -> dict[str, str]:
        """The good files by name, as they are on disk now."""
        self._listed = _listing(self._folder / LISTING)
        paths = [path for name in (LAST, PREVIOUS, BEST) if (path := self._folder / name).is_file()]
        digests = {path.name: atomic_files.sha256(path) for path in paths if self._listed}
        self._good = {name: digest for name, digest in digests.items() if digest in self._listed}
        return self._good


def _listing(path: Path) -> dict[str, int]:
    """The digests on disk; none if there is no list, or something else in its place."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(body, dict):
        return {}
    return {digest: epoch for digest, epoch in body.items() if isinstance(epoch, int)}
