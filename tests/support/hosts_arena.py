"""Run a study on hosts that share no folder, and check its invariants afterwards."""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Unpack

from tests.support.arena import Arena, RunOptions, ScriptOptions
from tests.support.hosts import Host, Hosts
from tests.support.real_arena import SPACE
from tests.support.s3 import S3Server, in_environment
from trainer.artifacts.file_system import Folder
from tuner.contract.artifacts import Manifest, attempt_of, decode_manifest, manifest_name

_INSIDE = Path("/tmp/arena")


class HostsArena(Arena):
    """A folder on the head of a cluster, and the command line to search there.

    The journal of the scripted trainers and their faults are in a folder that all hosts see. Nothing of the
    project reads it.
    """

    def __init__(self, hosts: Hosts, watched: Path, *, storage: str, store: S3Server, trials: int = 8) -> None:
        """Prepare a study.

        Args:
            hosts: Hosts on which Ray runs; one of them is named `head`.
            watched: Folder that all hosts share.
            storage: URL of a database that they reach.
            store: Store that they reach.
            trials: Number of trials.
        """
        self.hosts = hosts
        self.store = store
        outside = self.head.files / _INSIDE.relative_to("/")
        outside.mkdir()
        super().__init__(outside, trials=trials, storage=storage, address=self.head.gcs)
        self.faults.rmdir()
        self.journal, self.faults, self.arrivals = (watched / name for name in ("played.jsonl", "faults", "arrivals"))
        self.faults.mkdir()
        kept = {name: self.environment[name] for name in ("TUNE_STORAGE", "TUNE_TEST_ARENA")}
        self.environment = {**kept, "ARRIVALS": str(self.arrivals)}

    @property
    def head(self) -> Host:
        return self.hosts.hosts["head"]

    def start(
        self,
        *,
        die: str = "",
        interpreter: Sequence[str] = (sys.executable, "-P"),
        under: Sequence[str] = (),
        leads: bool = False,
        **options: Unpack[RunOptions],
    ) -> subprocess.Popen[str]:
        """Start the driver on the head."""
        arguments = [*self.run_arguments(**options), "--artifacts", self.store.url]
        command = self.command("run", *arguments, die=die, interpreter=interpreter)
        return self.head.start(*under, *command, cwd=_INSIDE, **self.environment)

    def run_folder(self, run: str) -> Folder:
        """Return the folder of a run in the store, as `trials/0003`."""
        with in_environment(self.store.environment):
            (study,) = [name for name in Folder(self.store.url).names() if name.startswith("s-")]
            return Folder(f"{self.store.url}/{study}/{run}")

    def attempts_of(self, run: str) -> list[int]:
        """Return the attempts at a run that have a manifest, the latest first."""
        with in_environment(self.store.environment):
            found = (attempt_of(name) for name in self.run_folder(run).names())
            return sorted((attempt for attempt in found if attempt is not None), reverse=True)

    def epoch_in_store(self, run: str) -> int:
        """Return the last epoch of a run in the store; 0 before the first, and without a store."""
        with suppress(ValueError, FileNotFoundError):
            manifest = self.manifest(run)
            return manifest.epoch if manifest is not None and manifest.files else 0
        return 0

    def manifest(self, run: str) -> Manifest | None:
        """Return the manifest that counts of a run; None if there is none."""
        with in_environment(self.store.environment):
            attempts = self.attempts_of(run)
            return decode_manifest(self.run_folder(run).read(manifest_name(attempts[0]))) if attempts else None

    def has_weights(self, number: int) -> bool:
        manifest = self.manifest(f"trials/{number:04d}")
        return any(name.startswith("weights/") for name in (manifest.files if manifest else None) or {})

    def left_on(self, host: Host) -> list[str]:
        """Return the runs whose files are still on a host."""
        return [path.name for path in (host.files / "tmp/cache/mamba-yolo-tuner/runs").glob("*")]

    def host_of_trial(self, number: int) -> Host:
        """Return the host that started the latest trial."""
        return self.hosts.hosts[[event["host"] for event in self.events("start") if event["trial"] == number][-1]]


class RealHostsArena(HostsArena):
    """Two real trials on sixteen images, each on a host."""

    def __init__(self, hosts: Hosts, watched: Path, *, storage: str, store: S3Server, trials: int) -> None:
        super().__init__(hosts, watched, storage=storage, store=store, trials=trials)
        (self.folder / "space.yaml").write_text(SPACE)

    def run_arguments(
        self, *, promote: bool = False, more: Sequence[str] = (), **scripted: Unpack[ScriptOptions]
    ) -> list[str]:
        assert not scripted, "no script is played here"
        arguments = ["--space", "space.yaml", "--study", "s", "--plain", "--data", "sample:16", "--parallel", "2"]
        assert self.address is not None
        return [*arguments, "--address", self.address, *([] if promote else ["--no-promote"]), *more]
