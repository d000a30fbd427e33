"""Only processes of the same user on the same machine can reach a run."""

# ruff: noqa: F811 - fixtures are imported here and named again by the tests that use them

import contextlib
import ipaddress
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import SCRIPTED_TRAINER
from tests.support.leaks import leaks
from tests.tuner.conftest import empty_database, paths, space, spec, study, url  # noqa: F401 - fixtures

SPACE = """
search: {epochs: 3, trials: 4, sampler: random, rungs: [], reevaluation_runs: 0}
parameters: {optimizer: SGD, batch: 16, imgsz: 64, lr0: {float: [0.0001, 0.9], log: true}}
baseline: {lr0: 0.01}
data: sample
model: mamba-yolo-n
"""
TIMEOUT_S = 120


def processes_of(pid):
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def listening(pid):
    """List the listening sockets of a process and its descendants, as (process, address, port)."""
    found = []
    for process in processes_of(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets = process.net_connections(kind="inet")
            found += [(process.name(), s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN]
    return found


def is_loopback(address):
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def wait_for(condition, process):
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextlib.contextmanager
def running(folder, *arguments, env=None):
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *arguments],
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Tests that run in the background of a shell ignore Ctrl+C, and so would the processes that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Yield a run in its first trials, with its own home folder."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "home").mkdir()
    (folder / "space.yaml").write_text(SPACE)
    journal = folder / "journal.jsonl"
    trainer = f"{sys.executable} {SCRIPTED_TRAINER} --epoch-seconds 1000 --journal {journal}"
    arguments = ["run", "--space", "space.yaml", "--study", "s", "--plain", "--parallel", "2", "--trainer", trainer]
    env = {"HOME": str(folder / "home"), "RAY_ADDRESS": "192.0.2.1:6379"}
    with running(folder, *arguments, env=env) as process:
        wait_for(lambda: journal.exists() and journal.read_text().count('"start"') >= 2, process)
        process.folder = folder
        yield process


def test_every_socket_of_a_run_listens_on_loopback_only(run):
    sockets = listening(run.pid)
    assert {"gcs_server", "raylet"} <= {name for name, _, _ in sockets}, "Ray was not looked at"
    assert [s for s in sockets if not is_loopback(s[1])] == []


def test_a_run_starts_ray_here_whatever_cluster_the_environment_names(run):
    assert any(process.name() == "gcs_server" for process in processes_of(run.pid))


def test_a_run_starts_no_ray_server_that_it_does_not_need(run):
    """Neither the dashboard nor the autoscaler nor the reader of logs."""
    commands = [" ".join(process.cmdline()) for process in processes_of(run.pid)]
    assert any("ray/dashboard/agent.py" in command for command in commands), "Ray's Python servers were not looked at"
    assert [command for command in commands if "dashboard.py" in command or "monitor.py" in command] == []


def token_of(run):
    gcs = next(process for process in processes_of(run.pid) if process.name() == "gcs_server")
    return gcs.environ()["RAY_AUTH_TOKEN"]


ASK = """
import sys
from ray._raylet import GcsClient
try:
    print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)), "nodes")
except Exception as error:
    print("refused:", type(error).__name__, str(error)[:200].replace(chr(10), " "))
"""


def asked(run, token):
    """Return the answer of Ray's head to a client with this token."""
    port = next(port for name, _, port in listening(run.pid) if name == "gcs_server")
    done = subprocess.run(
        [sys.executable, "-c", ASK, f"127.0.0.1:{port}"],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip()


def test_ray_answers_only_clients_with_the_token_of_this_run(run):
    assert asked(run, token_of(run)) == "1 nodes"
    assert asked(run, "0" * 64).startswith("refused: Auth")


def test_the_token_is_in_no_file_and_on_no_command_line(run):
    found = leaks(token_of(run), [run.folder], [run.pid])
    assert found, "the environment has it"
    assert [line for line in found if not line.startswith("environ of")] == []
    for process in processes_of(run.pid):
        assert stat.S_IMODE(Path(f"/proc/{process.pid}/environ").stat().st_mode) == 0o400


def test_the_dashboard_listens_on_loopback_only(tmp_path, study):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(tmp_path, "dashboard", "s", "--home", str(tmp_path), "--port", str(port)) as process:
        wait_for(lambda: listening(process.pid), process)
        assert {(address, number) for _, address, number in listening(process.pid)} == {("127.0.0.1", port)}
        elsewhere = {a.address for addresses in psutil.net_if_addrs().values() for a in addresses
                     if a.family == socket.AF_INET and not is_loopback(a.address)}  # fmt: skip
        for address in elsewhere:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, port), timeout=5)
