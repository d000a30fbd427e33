"""Find a place for the Ray cluster of a batch job, and wait until all its nodes have joined.

The script of `tune slurm-script` calls this module, because bash can do neither:

    python -m tuner.execution.job_cluster place                          prints HOST PORT PORT-OF-RAY-CLIENT
    python -m tuner.execution.job_cluster await HOST:PORT NODES PID      PID: process that starts the nodes
"""

import contextlib
import socket
import sys
import time
from typing import NoReturn

import psutil
import ray
from ray._private import services

from tuner.exceptions import MachineError
from tuner.execution import ray_node

_START_S = 300.0
"""Seconds in which all nodes must have joined: on a cold network file system, importing Ray alone may take a minute."""

_PERIOD_S = 0.5


def place() -> tuple[str, int, int]:
    """Choose the address of the head on this machine, the one by which other machines reach it, and two free ports.

    The ports are those of the cluster and of Ray Client, which Ray starts unasked, on the same port for every cluster.
    """
    host = services.get_node_ip_address()
    with contextlib.ExitStack() as opened:
        ports = [opened.enter_context(socket.create_server(("", 0))).getsockname()[1] for _ in range(2)]
    return host, ports[0], ports[1]


def await_nodes(address: str, nodes: int, starter: int, timeout_s: float = _START_S) -> None:
    """Wait until the cluster has this many live nodes.

    Args:
        address: Address of the head, host:port.
        nodes: Number of nodes.
        starter: Process that starts them and lives as long as they do.
        timeout_s: Seconds to wait.

    Raises:
        MachineError: Nodes are missing after this time, or cannot join any more because the starter has ended.
    """
    deadline = time.monotonic() + timeout_s
    joined = 0
    while time.monotonic() < deadline and _runs(starter):
        with contextlib.suppress(MachineError):  # the head does not answer yet
            joined = _joined(address)
            if joined >= nodes:
                return
        time.sleep(_PERIOD_S)
    raise MachineError(
        f"Ray must start on all {nodes} nodes of the job within {timeout_s:.0f} s, but it has started on {joined}; "
        "read what the others say above, then submit the job again, without a broken node (`sbatch --exclude=NODE`)."
    )


def _joined(address: str) -> int:
    """Return the number of live nodes; the connection stays open for the next call."""
    if not ray.is_initialized():
        try:
            ray_node.join(address)
        except BaseException:
            ray.shutdown()
            raise
    return sum(node["Alive"] for node in ray.nodes())


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main(arguments: list[str]) -> NoReturn:
    """Carry out a step of the script and exit with its exit code."""
    try:
        match arguments:
            case ["place"]:
                sys.stdout.write("{} {} {}\n".format(*place()))
            case ["await", address, nodes, starter]:
                await_nodes(address, int(nodes), int(starter))
            case _:
                sys.stderr.write(f"The step must be place or await with its values, but got {arguments}.\n")
                sys.exit(2)
    except MachineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
