"""Start a separate SLURM from the installed programs, with several virtual nodes on this machine.

The controller, its nodes and munge listen on loopback, with a key of their own, and keep all files in a temporary
folder. They are gone, with all jobs, when this process ends, however that ends: a guard in a process of its own waits
for that.
"""

import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel", "srun")
_CONF = "slurm.conf"
_OF_SLURM = ("SLURM", "SBATCH", "SRUN", "SCANCEL", "SCONTROL", "CUDA_VISIBLE_DEVICES")
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")
"""Devices that every machine has. SLURM sets CUDA_VISIBLE_DEVICES only for devices that exist."""

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 15

_SETTINGS = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# Seconds for which a requeued job waits, so that no node takes it for its predecessor; 120 by default.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=2
GresTypes=gpu
# CPUs that this machine does not have.
SlurmdParameters=config_overrides
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 MaxTime=INFINITE State=UP
"""


class SlurmMissing(Exception):  # noqa: N818 - a state of the machine, which tests skip for
    """SLURM cannot be started here; the text says why."""


@dataclass(frozen=True, slots=True)
class VirtualNode:
    """A node on this machine."""

    name: str
    cpus: int
    gpus: int
    """Number of GPUs that SLURM assigns, at most 4; other devices stand for them."""


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as `scontrol show job` describes it."""

    state: str
    restarts: int
    exit_code: int
    reason: str
    batch_host: str
    """Node that runs the batch script; "" while the job waits."""


class SlurmCluster:
    """A controller and its nodes, running from the start until `close`.

    Raises:
        SlurmMissing: the programs are not installed.
    """

    def __init__(self, nodes: Sequence[VirtualNode]) -> None:
        self._nodes = nodes
        self._programs = {name: _found(name) for name in _PROGRAMS}
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.folder.chmod(0o755)  # munge refuses others
        self.environment = self.within(os.environ)
        guard = [sys.executable, __file__, str(self.folder)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._write_files()
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def within(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment whose commands reach this cluster, and not the one that the tests run on."""
        kept = {name: value for name, value in environment.items() if not name.startswith(_OF_SLURM)}
        return {**kept, "SLURM_CONF": str(self.folder / _CONF)}

    def run(self, program: str, *arguments: str, timeout_s: float = 60) -> str:
        """Run a command of SLURM, and return its output.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(
            [self._programs[program], *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def submit(self, script: Path, *options: str, environment: Mapping[str, str]) -> int:
        """Submit a script from its folder, and return the number of the job."""
        done = subprocess.run(
            [self._programs["sbatch"], "--parsable", *options, str(script)],
            cwd=script.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return int(done.stdout)

    def job(self, number: int) -> JobState:
        """Return the state of a job."""
        text = self.run("scontrol", "show", "job", str(number))
        found = dict(re.findall(r"(JobState|Restarts|ExitCode|Reason|BatchHost)=(\S+)", text))
        return JobState(
            state=found["JobState"],
            restarts=int(found["Restarts"]),
            exit_code=int(found["ExitCode"].partition(":")[0]),
            reason=found["Reason"],
            batch_host=found.get("BatchHost", ""),
        )

    def awaited(self, number: int, timeout_s: float = 240) -> JobState:
        """Wait for the end of a job, requeued or not, and return its state.

        Raises:
            TimeoutError: it has not ended in this time.
        """
        deadline = time.monotonic() + timeout_s
        while (job := self.job(number)).state not in _ENDED:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {number} has not ended within {timeout_s:.0f} s: {job}")
            time.sleep(0.2)
        return job

    def lose(self, node: str) -> None:
        """Kill a node and everything on it, and inform the controller, which would notice only in minutes."""
        for process in _processes(self.folder):
            with contextlib.suppress(psutil.Error, OSError):
                daemon = process.parent()
                if process.environ().get("SLURMD_NODENAME") == node or process.cmdline()[1:4] == ["-D", "-N", node]:
                    process.kill()
                    if daemon is not None and daemon.name() == "slurmstepd":
                        daemon.kill()
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def bring_back(self, node: str) -> None:
        """Start a lost node again."""
        self._spawn_node(node)
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def close(self) -> None:
        """Stop all daemons and jobs, and remove the folder."""
        self._guard.communicate(timeout=_STOP_TIMEOUT_S * 2)

    def _write_files(self) -> None:
        (self.folder / "state").mkdir()
        (self.folder / "munge").mkdir(mode=0o755)
        (self.folder / "munge" / "key").touch(mode=0o600)
        (self.folder / "munge" / "key").write_bytes(secrets.token_bytes(1024))
        host = socket.gethostname()
        ports = _free_ports(1 + len(self._nodes))
        settings = _SETTINGS.format(host=host, port=ports[0], user=getpass.getuser(), folder=self.folder)
        resources = ""
        for node, port in zip(self._nodes, ports[1:], strict=True):
            settings += (
                f"NodeName={node.name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={node.cpus}"
                f"{f' Gres=gpu:{node.gpus}' if node.gpus else ''}\n"
            )
            for device in _DEVICES[: node.gpus]:
                resources += f"NodeName={node.name} Name=gpu File={device}\n"
        (self.folder / _CONF).write_text(settings)
        (self.folder / "gres.conf").write_text(resources)

    def _start(self) -> None:
        munge = self.folder / "munge"
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{name}={munge / file}" for name, file in files.items()]
        self._spawn("munged", "--force", "--foreground", *options)
        self._await(lambda: (munge / "socket").exists())
        self._spawn("slurmctld", "-D", "-f", str(self.folder / _CONF))
        for node in self._nodes:
            self._spawn_node(node.name)
        self._await(self._is_ready)

    def _spawn_node(self, name: str) -> None:
        self._spawn("slurmd", "-D", "-N", name, "-f", str(self.folder / _CONF))

    def _spawn(self, program: str, *arguments: str) -> None:
        with (self.folder / "output").open("ab") as log:
            subprocess.Popen(
                [self._programs[program], *arguments],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl+C is for us
            )

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"SLURM does not start: {(self.folder / 'output').read_text()[-2000:]}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            return self.run("scontrol", "show", "nodes", timeout_s=5).count("State=IDLE ") == len(self._nodes)
        return False


def _found(program: str) -> str:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise SlurmMissing(f"SLURM's program {program} is not installed: apt-get install slurm-wlm")
    return path


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        return [opened.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(number)]


def _processes(folder: Path) -> list[psutil.Process]:
    """Return the daemons and all processes of their jobs: each has the path of the settings in its environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("SLURM_CONF") == str(folder / _CONF) and process.pid != os.getpid():
                found.append(process)
    return found


def _guard(folder: Path) -> None:
    """Wait until the other end of standard input closes; then leave nothing behind."""
    sys.stdin.read()
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline and (left := _processes(folder)):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
