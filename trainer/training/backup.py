"""Back up a run's weights and records to another location, in a separate process while training continues.

`python -m trainer.training.backup URL FILE...` copies files into a folder that fsspec supports: a path, or a URL such
as s3://bucket/runs. Each file there is the old or the new version, never a partial one.
"""

import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from trainer.exceptions import TrainerError
from trainer.system.processes import die_with_parent

_LAST_WAIT_S = 3600.0
"""Time that the end of a run waits for its last copy, in seconds."""

logger = logging.getLogger("trainer")


class Backup:
    """A folder to copy to. A failed copy does not affect the run, and the next copy is made as usual."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: subprocess.Popen[str] | None = None
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open for all later copies
        self.problem = ""
        """Reason why the latest copy failed, one line; empty if it succeeded."""

    def probe(self) -> None:
        """Check before training that the folder is writable.

        Raises:
            TrainerError: the folder is not writable.
        """
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / ".probe"
            probe.write_text("")
            self._start([probe])
            self._finish()
        if self.problem:
            raise TrainerError(f"{self.problem}; choose another place with --backup.")

    def copy(self, files: Iterable[Path]) -> None:
        """Start to copy these files as they are now; skip this copy if the last one is still running."""
        if self._running is not None and self._running.poll() is None:
            logger.warning("the backup to %s takes longer than the interval between backups; skipping one", self._url)
            return
        self._finish()
        self._start([file for file in files if file.is_file()])

    def close(self, files: Iterable[Path]) -> None:
        """Copy these files as they are now, and wait for the copy."""
        self._finish()
        self._start([file for file in files if file.is_file()])
        self._finish()

    def _start(self, files: list[Path]) -> None:
        self._said.seek(0)
        self._said.truncate()
        command = [sys.executable, "-m", "trainer.training.backup", self._url, *map(str, files)]
        self._running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said, text=True
        )

    def _finish(self) -> None:
        """Wait for the running copy, if any, and record how it ended."""
        if self._running is None:
            return
        try:
            code = self._running.wait(_LAST_WAIT_S)
        except subprocess.TimeoutExpired:
            self._running.kill()
            code = self._running.wait()
        self._running = None
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        self.problem = (
            "" if code == 0 else f"the backup to '{self._url}' failed: {(lines or [f'exit code {code}'])[-1]}"
        )
        if self.problem:
            logger.warning("%s", self.problem)


def copy_all(url: str, files: Iterable[Path]) -> None:
    """Copy files into a folder, and create the folder if it is missing.

    Raises:
        Exception: any error of the file system behind the URL.
    """
    import fsspec

    system, folder = fsspec.core.url_to_fs(url)
    system.makedirs(folder, exist_ok=True)
    for file in files:
        draft = f"{folder}/.{file.name}.tmp"
        system.put_file(str(file), draft)
        if file.name == ".probe":
            system.rm(draft)
        else:
            system.mv(draft, f"{folder}/{file.name}")


def main(arguments: list[str]) -> int:
    """Copy the files, and return the exit code: 0, or 1 with one line on standard error."""
    die_with_parent()
    url, *files = arguments
    try:
        copy_all(url, map(Path, files))
    except Exception as error:  # each file system raises its own errors
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
