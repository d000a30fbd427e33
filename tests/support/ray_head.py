"""Start a separate Ray cluster on this machine, with the Jobs API and a token, as `ray start` does."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_START_S = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RayHead:
    """The head of a cluster, and further nodes; all of its processes have its folder on their command line."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, num_cpus: int, num_gpus: int = 0) -> None:
        self._folder = folder
        self.port, self.jobs_port, self.client_port = free_port(), free_port(), free_port()
        self.resources = [f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}"]
        self.environment = {
            **os.environ,
            **environment,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A node that is killed should count as lost within seconds.
            "RAY_health_check_initial_delay_ms": "1000",
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }
        self.environment.pop("RAY_ADDRESS", None)
        self._processes: list[subprocess.Popen[bytes]] = []
        guard = [sys.executable, __file__, str(folder)]  # ends with this process, however this one ends
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Address of the Jobs API."""
        return f"http://127.0.0.1:{self.jobs_port}"

    def start(self) -> None:
        """Start the head, and wait for its Jobs API."""
        self._ray_start(
            "--head",
            f"--port={self.port}",
            f"--dashboard-port={self.jobs_port}",
            "--dashboard-host=127.0.0.1",
            f"--ray-client-server-port={self.client_port}",
            *self.resources,
        )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert time.monotonic() < deadline, f"Ray's head did not start within {_START_S} s"
            time.sleep(0.2)

    def add_node(self, *, num_cpus: int, num_gpus: int = 0) -> "subprocess.Popen[bytes]":
        """Start another node, and return the process that ends all of its servers when it ends."""
        return self._ray_start(f"--address=127.0.0.1:{self.port}", f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}")

    def kill_node(self, node: "subprocess.Popen[bytes]") -> None:
        """Kill a node and everything that runs on it, as if its machine were lost."""
        everything = [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
        for process in everything:
            if process.is_running():
                process.kill()
        node.wait()
        self._processes.remove(node)

    def kill(self) -> None:
        """Kill all nodes and everything that runs on them."""
        _kill_all(self._folder)
        for node in self._processes:
            node.wait()
        self._processes.clear()

    def close(self) -> None:
        """Kill all processes for good."""
        self.kill()
        self._guard.communicate()

    def _ray_start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        # Its default is a fixed port, and a cluster whose agent does not get it runs no jobs.
        agent = f"--dashboard-agent-listen-port={free_port()}"
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "start", "--block", "--disable-usage-stats", agent, *arguments]
        with (self._folder / "ray-start.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        self._processes.append(process)
        return process

    def _answers(self) -> bool:
        token = self.environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(f"{self.url}/api/jobs/", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=2):
                return True
        except OSError:
            return False

    def __enter__(self) -> "RayHead":
        return self

    def __exit__(self, *error: object) -> None:
        for node in self._processes:
            if node.poll() is None:
                node.send_signal(signal.SIGTERM)
        self.close()


def _kill_all(folder: Path) -> None:
    """Kill every process that has the folder on its command line or in its environment, but not this one."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_its = str(folder) in " ".join(process.cmdline()) or process.environ().get("RAY_TMPDIR") == str(folder)
            if is_its and process.pid != os.getpid() and __file__ not in process.cmdline():
                process.kill()


if __name__ == "__main__":
    sys.stdin.read()
    _kill_all(Path(sys.argv[1]))
