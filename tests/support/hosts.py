"""Hosts of a cluster on this machine: each has its own address, name, processes and temporary files.

A host is a set of Linux namespaces. Its network is one end of a cable whose other end is in a bridge, to which this
machine, with the servers of the test, has a cable, too. The bridge is in a network namespace of its own, where no
firewall of this machine applies. `/tmp` and `/dev/shm` of a host are its own, and nothing else is written, so hosts
share no folder except those that the test names. Hosts of one test cannot reach those of another one, or anything
outside of this machine.
"""

import contextlib
import itertools
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_PROGRAMS = ("ip", "unshare", "nsenter", "mount")
_START_S = 20.0
_GCS_PORT = 6379
_OBJECT_STORE_BYTES = 100_000_000

_INIT = """
set -e
hostname "$1"; shift
mount --make-rprivate /
stash=$(mktemp -d /run/hosts-XXXXXX)
number=0
for kept in "$@"; do mkdir "$stash/$number"; mount --bind "$kept" "$stash/$number"; number=$((number + 1)); done
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
number=0
for kept in "$@"; do mkdir -p "$kept"; mount --bind "$stash/$number" "$kept"; number=$((number + 1)); done
for folder in "$stash"/*; do umount "$folder"; rmdir "$folder"; done
rmdir "$stash"
touch /tmp/.ready
sleep infinity &
wait
"""
"""First process of a host: makes its folders, then adopts and reaps orphaned processes."""


class HostsMissing(Exception):  # noqa: N818 - a state of the machine, which tests skip for
    """Hosts cannot be made here; the text says why."""


@dataclass
class Host:
    """One host. Its processes end with it."""

    name: str
    address: str
    switch: str
    """Name of the network namespace with the bridge."""
    cable: str
    """Name of the end of its cable that is in the bridge."""
    space: str
    """Name of its network namespace."""
    init: subprocess.Popen[bytes]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """Process ID, here, of its first process."""
        return psutil.Process(self.init.pid).children()[0].pid

    @property
    def files(self) -> Path:
        """Root of its files, as seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def command(self, *command: str) -> list[str]:
        """Return the command line that runs a command on this host."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-u", "-i", "-p", "--", *command]

    def start(self, *command: str, cwd: Path | None = None, **variables: str) -> subprocess.Popen[str]:
        """Start a command on this host; its output is one text, including errors."""
        inside = ["env", "-C", str(cwd)] if cwd else []
        return subprocess.Popen(
            self.command(*inside, *command),
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, timeout_s: float = 120.0) -> str:
        """Run a command on this host to its end, and return its output.

        Raises:
            RuntimeError: it fails.
        """
        process = self.start(*command)
        output, _ = process.communicate(timeout=timeout_s)
        if process.returncode != 0:
            raise RuntimeError(
                f"{' '.join(command)} on {self.name} failed with {process.returncode}:\n{output[-3000:]}"
            )
        return output

    def cut_off(self) -> None:
        """Pull the cable: nothing arrives any more, and no process gets an error."""
        _ip("-n", self.switch, "link", "set", self.cable, "down")

    def plug_in(self) -> None:
        """Plug the cable in again."""
        _ip("-n", self.switch, "link", "set", self.cable, "up")

    def crash(self) -> None:
        """Kill all processes except the first one, as in a crash after which the host restarts with its files."""
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() != "sleep":
                    process.kill()

    def kill(self) -> None:
        """Lose the host for good, with everything on it."""
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            psutil.Process(self.pid).kill()  # the kernel kills all others in the namespace
        self.init.wait(30)

    def start_ray(self, *, head: "Host | None" = None, cpus: int) -> None:
        """Start Ray on this host: the head of a new cluster, or a machine of an existing one."""
        role = ["--head", f"--port={_GCS_PORT}", "--include-dashboard=false"] if head is None else []
        role += [f"--address={head.gcs}"] if head else []
        self.run(
            str(Path(sys.executable).with_name("ray")),
            "start",
            *role,
            f"--node-ip-address={self.address}",
            f"--num-cpus={cpus}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            "--disable-usage-stats",
        )

    @property
    def gcs(self) -> str:
        """Address of the cluster whose head this host is."""
        return f"{self.address}:{_GCS_PORT}"


class Hosts:
    """Hosts on one bridge, and the address of this machine there."""

    def __init__(self, *, shared: Sequence[Path] = (), variables: Mapping[str, str] | None = None) -> None:
        """Make a bridge without hosts.

        Args:
            shared: Folders that all hosts see, to watch them; none of the project's own files belongs there.
            variables: Environment variables of the processes on all hosts, to begin with.

        Raises:
            HostsMissing: This machine cannot make hosts.
        """
        require_hosts()
        self._mark = secrets.token_hex(3)
        self._switch = f"t{self._mark}-switch"
        # One of the blocks for tests of network devices (RFC 2544), so it is nowhere in use.
        self._net = f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(256)}"
        self._shared = [ROOT, *shared]
        self._token = secrets.token_hex(16)
        self.variables = dict(variables or {})
        """Environment variables of the processes on hosts that are added from now on."""
        self._numbers = itertools.count(11)
        self._spaces = [self._switch]
        self.hosts: dict[str, Host] = {}
        self.address = f"{self._net}.1"
        """Address of this machine, where the hosts find its servers."""
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "bridge", "up")
        self._own = f"t{self._mark}"
        self._connect(self._own, self._own)
        _ip("addr", "add", f"{self.address}/24", "dev", self._own)
        _ip("link", "set", self._own, "up")

    def add(self, name: str) -> Host:
        """Make a host."""
        number = next(self._numbers)
        space, cable, address = f"t{self._mark}-{name}", f"host{number}", f"{self._net}.{number}"
        _ip("netns", "add", space)
        self._spaces.append(space)
        self._connect(cable, f"t{self._mark}{number}")
        _ip("link", "set", f"t{self._mark}{number}", "netns", space, "name", "eth0")
        for words in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip("-n", space, *words.split())
        unshare = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        init = subprocess.Popen(
            ["ip", "netns", "exec", space, *unshare, "bash", "-c", _INIT, "init", name, *map(str, self._shared)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        host = Host(name, address, self._switch, cable, space, init, self._environment())
        self.hosts[name] = host
        deadline_s = time.monotonic() + _START_S
        while not _is_ready(host):
            if init.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the host {name} does not start")
            time.sleep(0.02)
        return host

    def close(self) -> None:
        """Remove all hosts, their cables and the bridge."""
        for host in self.hosts.values():
            host.kill()
        _ip("link", "del", self._own, check=False)
        for space in self._spaces:
            _ip("netns", "del", space, check=False)
        self.hosts = {}

    def _connect(self, cable: str, peer: str) -> None:
        """Make a cable: one end, `cable`, in the bridge, the other one here."""
        _ip("link", "add", peer, "type", "veth", "peer", "name", cable, "netns", self._switch)
        _ip("-n", self._switch, "link", "set", cable, "master", "bridge", "up")

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        return {
            **kept,
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": "/tmp/cache",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            "RAY_USAGE_STATS_ENABLED": "0",
            **self.variables,
        }


@contextlib.contextmanager
def hosts_on_a_bridge(*, shared: Sequence[Path] = (), **variables: str) -> Iterator[Hosts]:
    """Make a bridge, and remove it with all of its hosts after the block."""
    hosts = Hosts(shared=shared, variables=variables)
    try:
        yield hosts
    finally:
        hosts.close()


def require_hosts() -> None:
    """Check that this machine can make hosts.

    Raises:
        HostsMissing: it cannot.
    """
    if os.geteuid() != 0:
        raise HostsMissing("only root may make network namespaces")
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise HostsMissing(f"{', '.join(missing)} is not installed: apt-get install iproute2 util-linux")
    probe = f"t{secrets.token_hex(3)}"
    try:
        _ip("link", "add", probe, "type", "bridge")
        _ip("link", "del", probe)
        subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=True, capture_output=True)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        raise HostsMissing(f"this system has no bridges or namespaces for us: {error}") from error


def _is_ready(host: Host) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, IndexError, OSError):
        return (host.files / "tmp" / ".ready").exists()
    return False


def _ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
