"""Report in one line, with the remedy, why Ray does not start or cannot be joined. Errors are real if possible."""

import http.server
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuner.exceptions import MachineError
from tuner.execution.ray_errors import failed_join, failed_start

# Errors of Ray 2.60 and its servers: (what Ray raised, what was in a server's log, meaning, remedy).
STARTS = {
    "socket path": (
        "validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /scratch/a/plasma_store",
        "",
        "too long for Unix sockets",
        "TMPDIR",
    ),
    "file handles": (
        "Timed out waiting for file /tmp/ray/session_2026-11-28_09-00-43_051343_6539/gcs_server_port_ed5e5100",
        "[2026-11-28 09:00:43,093 E 6552 6552] (gcs_server) logging.cc:118: Unhandled exception: "
        "N5boost10wrapexceptINS_6system12system_errorEEE. what(): epoll: Too many open files [system:24]",
        "limit on open files is too low",
        "ulimit -n",
    ),
    "disk": ("[Errno 28] No space left on device: '/tmp/ray/session_x/logs'", "", "disk of its", "free disk space"),
    "quota": ("[Errno 122] Disk quota exceeded: '/tmp/ray/session_x/logs'", "", "disk of its", "free disk space"),
    "processes": ("[Errno 11] Resource temporarily unavailable", "", "limit on processes", "ulimit -u"),
    "threads": (
        "The current node timed out during startup. This could happen because some of the raylet failed to startup.",
        "[2026-11-28 09:00:43,093 E 1 1] (raylet) logging.cc:118: what(): thread: Resource temporarily unavailable",
        "limit on processes and threads",
        "pids",
    ),
    "shared memory": (
        "The configured object store size (12.0 GB) exceeds /dev/shm size (0.06 GB). This will harm performance.",
        "",
        "too little shared memory",
        "--shm-size",
    ),
    "memory": (
        "After taking into account object store and redis memory usage, the amount of memory on this node available "
        "for tasks and actors (0.05 GB) is less than 2% of total.",
        "",
        "too little memory",
        "close other programs",
    ),
    "allocation": ("[Errno 12] Cannot allocate memory", "", "too little memory", "ulimit -v"),
    "port": (
        "The current node timed out during startup.",
        "[2026-11-28 09:00:43,093 E 1 1] (gcs_server) grpc_server.cc:125: bind: Address already in use",
        "a port that it needs is already in use",
        "RAY_GCS_SERVER_PORT",
    ),
    "fixed port": (
        "Failed to start GCS. Last 1 lines of error files: [2026-11-28 10:04:37,173 C 17263 17263] (gcs_server) "
        "grpc_server.cc:134: An unexpected system state has occurred. You have likely discovered a bug in Ray. Check "
        "failed: server_ Failed to start the grpc server. The specified port is 16379.",
        "",
        "a port that it needs is already in use",
        "RAY_GCS_SERVER_PORT",
    ),
    "read-only": ("[Errno 30] Read-only file system: '/tmp/ray'", "", "cannot write", "TMPDIR"),
    "noexec": ("[Errno 13] Permission denied: '/env/ray/core/src/ray/gcs/gcs_server'", "", "run its own", "noexec"),
}

JOINS = {
    "another version": (
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.11.9\nThis process on node "
        "127.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.9\n",
        "another version of Ray or Python",
        "the same versions",
    ),
    "token": ("Unauthenticated: Invalid or missing authentication token", "token", "RAY_AUTH_TOKEN"),
    "no token": ("Token authentication is enabled but no authentication token was found", "token", "RAY_AUTH_TOKEN"),
    "none here": (
        "Could not find any running Ray instance. Please specify the one",
        "no cluster runs",
        "ray start",
    ),
    "no address": ("Invalid address format: nonsense", "not the address of a cluster", "host:port"),
    "no port": ("Malformed address 1.2.3.4. Expected '<host>:<port>'.", "not the address of a cluster", "host:port"),
    "no host": ("[Errno -2] Name or service not known", "the host name is unknown", "correct the name"),
    "gone": (
        "Failed to connect to Ray cluster at 10.0.0.1:6379",
        "no Ray cluster answers at this address",
        "ray status",
    ),
    "refused": ("[Errno 111] Connection refused", "no Ray cluster answers at this address", "6379"),
    "firewall": ("timed out", "no Ray cluster answers at this address", "firewall"),
}


@pytest.mark.parametrize("case", STARTS)
def test_errors_of_ray_on_its_start_are_reported_with_the_remedy(case, tmp_path):
    raised, logged, means, remedy = STARTS[case]
    logs = tmp_path / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (logs / "gcs_server.err").write_text(f"{logged}\n")
    told = str(failed_start(RuntimeError(raised), tmp_path))
    assert told.startswith("Ray cannot be started on this machine: ")
    assert means in told
    assert remedy in told
    assert "\n" not in told


@pytest.mark.parametrize("case", JOINS)
def test_errors_of_ray_on_joining_are_reported_with_the_remedy(case):
    raised, means, remedy = JOINS[case]
    told = str(failed_join(ConnectionError(raised), "10.0.0.1:6379"))
    assert told.startswith("The Ray cluster at '10.0.0.1:6379' cannot be joined: ")
    assert means in told
    assert remedy in told
    assert "\n" not in told


def test_unknown_errors_are_passed_on_with_the_log_and_where_to_look(tmp_path):
    logs = tmp_path / "session_latest" / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.err").write_text("[2026-11-28 09:00:43,093 C 1 1] (raylet) main.cc:1: Check failed: moon is full\n")
    told = failed_start(RuntimeError("Something new"), tmp_path)
    assert isinstance(told, MachineError)
    assert "Something new" in str(told)
    assert "moon is full" in str(told)
    assert "tune doctor" in str(told)


def test_the_cause_of_a_vague_error_is_reported():
    vague = ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")
    vague.__cause__ = RuntimeError("Version mismatch: The cluster was started with Ray 2.59.0")
    assert "another version" in str(failed_join(vague, "10.0.0.1:6379"))


CONNECTING = """
import sys, time
from tuner.exceptions import MachineError
from tuner.execution.cluster import connected
began = time.monotonic()
try:
    with connected(gpus=0, parallel=1, address=sys.argv[1] if len(sys.argv) > 1 else None):
        print("connected")
except MachineError as problem:
    print(problem)
print(round(time.monotonic() - began))
"""


def connecting(*address, under=(), environment=None, **options):
    """Connect to Ray in a separate process. Return one line, and the seconds that it took."""
    done = subprocess.run(
        [*under, sys.executable, "-c", CONNECTING, *address],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 2, done.stdout + done.stderr
    return lines[0], int(lines[1])


def has_namespaces():
    return subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(not has_namespaces(), reason="no right to make a network namespace")


@needs_namespaces
def test_a_missing_loopback_interface_is_reported_at_once():
    told, seconds = connecting(under=["unshare", "-n"])
    assert "127.0.0.1" in told
    assert "ip link set lo up" in told
    assert seconds < 10


@needs_namespaces
def test_exhausted_ports_are_reported_at_once():
    few = 'ip link set lo up; echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range; exec "$@"'
    told, seconds = connecting(under=["unshare", "-n", "sh", "-c", few, "sh"])
    assert "ip_local_port_range" in told
    assert seconds < 10


def test_a_low_limit_of_open_files_is_reported_at_once():
    told, seconds = connecting(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)))
    assert "ulimit -n" in told
    assert seconds < 10


@pytest.fixture
def few_processes():
    """Create a cgroup that allows few processes and threads."""
    roots = [root for root in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if (root / "cgroup.procs").exists()]
    folder = (roots or [Path("/nowhere")])[0] / f"tune-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "pids.max").write_text("40")
    except OSError:
        pytest.skip("no right to make a cgroup that limits processes")
    yield folder
    folder.rmdir()


def test_a_low_limit_of_threads_is_reported_at_once(few_processes):
    enter = f'echo $$ > {few_processes}/cgroup.procs; exec "$@"'
    told, seconds = connecting(under=["sh", "-c", enter, "sh"])
    assert "ulimit -u" in told
    assert seconds < 10


def test_an_address_at_which_nothing_listens_is_reported_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told, seconds = connecting(f"127.0.0.1:{port}")
    assert "no Ray cluster answers at this address" in told
    assert seconds < 10


@pytest.fixture
def other_server():
    """Start another server that listens: here, a web server."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_of_another_server_is_reported_at_once(other_server):
    told, seconds = connecting(other_server)
    assert "no Ray cluster answers at this address" in told
    assert "8265" in told
    assert seconds < 15


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:port", "ray://127.0.0.1:10001"])
def test_an_invalid_address_is_reported_at_once(address):
    told, seconds = connecting(address)
    assert "host:port" in told
    assert seconds < 10


@pytest.mark.slow
def test_a_temporary_folder_with_a_long_path_is_no_obstacle(tmp_path):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    told, _ = connecting(environment={"TMPDIR": str(deep)})
    assert told == "connected"
    assert list(deep.iterdir()) == []


HEAD = """
import sys, ray
{before}
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={{"num_cpus": 1, "include_dashboard": False}})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def head():
    """Return a function that starts a cluster in a separate process, and returns its address."""
    processes = []

    def begin(before="", **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD.format(before=before)],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process.stdout.readline().strip()

    yield begin
    for process in processes:
        process.communicate(timeout=60)


@pytest.mark.slow
def test_a_cluster_of_another_ray_version_is_reported(head):
    told, _ = connecting(head("ray.__version__ = '2.59.0'"))
    assert "another version of Ray or Python" in told
    assert "2.59.0" in told


@pytest.mark.slow
def test_a_cluster_that_refuses_the_token_is_reported(head):
    address = head(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 64)
    told, seconds = connecting(address, environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "b" * 64})
    assert "RAY_AUTH_TOKEN" in told
    assert seconds < 60
