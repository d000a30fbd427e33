"""Start Ray's servers on this machine for one run, or join a running cluster."""

import contextlib
import logging
import os
import resource
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray._private import node, ray_constants, services

from tuner.exceptions import MachineError
from tuner.execution.ray_errors import failed_join, failed_start
from tuner.system.signals import Interrupted

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # no progress tables of Tune: we show our own
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files: the database stores everything
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # no snapshots of all trials of Tune while it runs: nobody reads them
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # we handle Ctrl+C and stop the search cleanly
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Trainers are not processes of Ray. If memory runs short, Ray would kill their actors, which hold little memory.
    # The kernel kills the trainers first, because they request it.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

_OBJECT_STORE_BYTES = 100 << 20
"""Size near Ray's minimum, since only a few lines per epoch pass through it; Ray's default is 1/3 of the memory."""

_SETTINGS = 4
_EMPTY_SETTINGS = bytes((0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0))
"""Empty HTTP/2 settings frame: length, type, flags, stream."""

_MOST_FILES = 65536

_PORTS = 32
"""Number of ports that Ray needs for all its servers and a few workers."""

_THREADS = 150
"""Minimum number of threads that Ray needs, in its servers and this process together."""

_CONNECT_S = 10.0
"""Timeout of a connection, in seconds; Ray itself tries an unreachable address for more than two minutes."""


def load() -> None:
    """Import Ray Tune, which reads some of our settings on import. It takes a second, once."""
    os.environ.update(_ENVIRONMENT)
    import ray.tune  # noqa: F401


def start(num_cpus: int, num_gpus: int | None, folder: Path) -> None:
    """Start Ray's servers on this machine, for this process only.

    They run in their own sessions, so signals to this process group and the closing of its terminal do not reach them.
    They end with this process, however it ends.

    Args:
        num_cpus: Number of CPUs that Ray offers.
        num_gpus: Number of GPUs that Ray offers; None for those that it finds.
        folder: Folder for Ray's sockets and logs.

    Raises:
        MachineError: Ray cannot be started.
    """
    os.environ.update(_ENVIRONMENT)
    _raise_file_limit()
    _require_loopback()
    _require_threads()
    _keep_to_this_machine()
    with _translated(lambda error: failed_start(error, folder)), _few_detached_servers():
        ray.init(
            address="local",  # explicit, because RAY_ADDRESS would make this join a cluster
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(folder),
            **_QUIET,
        )


def join(address: str) -> None:
    """Join a running cluster.

    Raises:
        MachineError: The cluster cannot be joined.
    """
    os.environ.update(_ENVIRONMENT)
    _require_answer(address)
    with _translated(lambda error: failed_join(error, address)):
        ray.init(address=address, **_QUIET)


@contextlib.contextmanager
def _translated(explained: Callable[[Exception], MachineError]) -> Iterator[None]:
    try:
        yield
    except SystemExit as end:  # Ray handles SIGTERM as soon as it starts
        raise Interrupted(signal.SIGTERM) from end
    except Exception as error:
        raise explained(error) from error
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Detached(services.ConsolePopen):  # type: ignore[misc]  # ray has no types
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, start_new_session=True)


class _Node(node.Node):  # type: ignore[misc]  # ray has no types
    """Node without the servers that a run never asks: each takes half a second of CPU time and 60 MB."""

    def start_monitor(self) -> None:
        """Leave out the autoscaler: this machine is the whole cluster."""

    def start_log_monitor(self) -> None:
        """Leave out the server that prints the output of workers in the driver: trainers have logs of their own."""

    def start_api_server(self, **options: Any) -> None:
        """Leave out the dashboard's server, which Ray starts, and waits for, even without a dashboard."""


@contextlib.contextmanager
def _few_detached_servers() -> Iterator[None]:
    """Make Ray start only the servers that a run needs, and detached; it has no options for this.

    Running `ray start` in another process would work too, but takes seconds longer for each run.
    """
    before = services.ConsolePopen, node.Node
    services.ConsolePopen, node.Node = _Detached, _Node
    try:
        yield
    finally:
        services.ConsolePopen, node.Node = before


def _keep_to_this_machine() -> None:
    """Make Ray's processes listen on loopback only and require this run's token.

    Anyone who reaches a port of Ray can run code as its user. Ray listens on every interface, even if it is given
    127.0.0.1, unless clusters are disabled (the default outside Linux). Ray would keep one token in ~/.ray for every
    run, where other users may be able to read it. Our token is in the environment of this run's processes, which other
    users cannot read.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this process, which has already read the variable
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _require_loopback() -> None:
    """Check for loopback and free ports: Ray's servers need both to talk, and would retry for minutes without them."""
    with contextlib.ExitStack() as opened:
        try:
            servers = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(_PORTS)]
            opened.enter_context(socket.create_connection(servers[0].getsockname(), 1.0))
        except OSError as error:
            raise MachineError(
                f"Ray's processes need {_PORTS} ports of 127.0.0.1 to communicate, but they are not available "
                f"({error.strerror or error}); bring the loopback interface up (`ip link set lo up`), widen "
                "net.ipv4.ip_local_port_range, or raise `ulimit -n`."
            ) from error


def _require_threads() -> None:
    """Check that enough threads can start: if they run out, Ray ends this process without a message."""
    done = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(_THREADS):
            thread = threading.Thread(target=done.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise MachineError(
            f"Ray needs at least {_THREADS} threads, but only {len(started)} can be started; raise the limit "
            "(`ulimit -u 4096` or more) or the limit of the container (pids)."
        ) from error
    finally:
        done.set()
        for thread in started:
            thread.join()


def _require_answer(address: str) -> None:
    host, separator, port = address.rpartition(":")
    if "://" in address:  # Ray Client, which Ray Tune does not support
        raise failed_join(ValueError(f"not an address of the form host:port: {address}"), address)
    if not separator or not port.isdecimal():
        return  # "auto", or an address that Ray itself rejects
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S) as connection:
            is_grpc = os.environ.get("RAY_USE_TLS") == "1" or _answers_as_grpc(connection)
    except (OSError, OverflowError) as error:
        raise failed_join(error, address) from error
    if not is_grpc:
        raise failed_join(ConnectionError("the server at this address is not Ray's GCS"), address)


def _answers_as_grpc(connection: socket.socket) -> bool:
    """Check whether the other side opens HTTP/2 with a settings frame, as gRPC servers do."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _EMPTY_SETTINGS)
    frame = connection.recv(len(_EMPTY_SETTINGS), socket.MSG_WAITALL)
    return len(frame) == len(_EMPTY_SETTINGS) and frame[3] == _SETTINGS


def _raise_file_limit() -> None:
    """Raise the limit on open files to the hard limit, at most `_MOST_FILES`; Ray's servers inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
