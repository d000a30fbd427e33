"""Ray's servers: started on this machine for one run, or those of a cluster that is joined."""

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
from ray._private import ray_constants, services

from tuner.exceptions import EnvironmentProblem
from tuner.execution.ray_errors import failed_join, failed_start
from tuner.system.signals import Interrupted

_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # Tune's own progress tables: ours is shown instead
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # CSV, JSON and TensorBoard files of what the database has
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl+C is an orderly stop of the search, decided by us
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Trainers are no processes of Ray's: short of memory, it would kill the actors above them, which have none to
    # give. The kernel takes the trainers first, as they ask it to.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

_OBJECT_STORE_BYTES = 100 << 20
"""Near the least that Ray takes: what passes through it are a few lines an epoch. By default a third of the memory."""

_SETTINGS = 4
_EMPTY_SETTINGS = bytes((0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0))
"""A frame of HTTP/2: its length, type, flags, stream."""

_MOST_FILES = 65536

_PORTS = 32
"""That Ray takes, all servers and a few workers together."""

_THREADS = 150
"""That Ray takes at least, its servers and this process together."""

_CONNECT_S = 10.0
"""Ray itself tries an address that nobody answers at for more than two minutes."""


def start(num_cpus: int, folder: Path) -> None:
    """Start Ray's servers on this machine, for this process alone.

    They live in sessions of their own: a signal to this process's group, or its terminal when it closes, does not reach
    them. They die with this process, however it dies.

    Args:
        num_cpus: CPUs that Ray gives out.
        folder: where it puts its sockets and logs.

    Raises:
        EnvironmentProblem: Ray cannot be started.
    """
    os.environ.update(_ENVIRONMENT)
    _raise_file_limit()
    _require_loopback()
    _require_threads()
    _keep_to_this_machine()
    with _translated(lambda error: failed_start(error, folder)), _sessions_of_their_own():
        ray.init(
            address="local",  # said out loud: RAY_ADDRESS would make this join a cluster
            num_cpus=num_cpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(folder),
            **_QUIET,
        )


def join(address: str) -> None:
    """Join a running cluster.

    Raises:
        EnvironmentProblem: it cannot be joined.
    """
    os.environ.update(_ENVIRONMENT)
    _require_answer(address)
    with _translated(lambda error: failed_join(error, address)):
        ray.init(address=address, **_QUIET)


@contextlib.contextmanager
def _translated(explained: Callable[[Exception], EnvironmentProblem]) -> Iterator[None]:
    try:
        yield
    except SystemExit as end:  # Ray takes SIGTERM as soon as it begins to start
        raise Interrupted(signal.SIGTERM) from end
    except Exception as error:
        raise explained(error) from error
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _Detached(services.ConsolePopen):  # type: ignore[misc]  # ray has no types
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, start_new_session=True)


@contextlib.contextmanager
def _sessions_of_their_own() -> Iterator[None]:
    """Have Ray start its servers detached, for which it has no option of its own.

    `ray start` in a process of its own would do as well, and take seconds more for each run.
    """
    popen = services.ConsolePopen
    services.ConsolePopen = _Detached
    try:
        yield
    finally:
        services.ConsolePopen = popen


def _keep_to_this_machine() -> None:
    """Let Ray's processes listen on loopback only, and answer nobody without this run's token.

    Whoever reaches a port of Ray runs code as its user. Ray listens on every interface, also when given 127.0.0.1,
    unless told that no other machine will join (its default on other systems than Linux). Its own token would be kept
    in ~/.ray for every run, where other users may read it; ours lives in the environment of this run's processes,
    where they may not.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"  # for the processes that Ray starts
    ray_constants.ENABLE_RAY_CLUSTER = False  # for this one, which has read the variable already
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _require_loopback() -> None:
    """Ray's servers speak to each other on it; without it, or without ports, Ray tries for minutes."""
    with contextlib.ExitStack() as opened:
        try:
            servers = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(_PORTS)]
            opened.enter_context(socket.create_connection(servers[0].getsockname(), 1.0))
        except OSError as error:
            raise EnvironmentProblem(
                f"Ray's processes speak to each other on {_PORTS} ports of 127.0.0.1, which cannot be had "
                f"({error.strerror or error}); bring the loopback interface up (`ip link set lo up`), widen "
                "net.ipv4.ip_local_port_range, or raise `ulimit -n`."
            ) from error


def _require_threads() -> None:
    """Where threads run out while Ray starts, it ends this process without a word."""
    done = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(_THREADS):
            thread = threading.Thread(target=done.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise EnvironmentProblem(
            f"Ray needs {_THREADS} threads and more, but no more than {len(started)} can be started; raise the limit, "
            "`ulimit -u 4096` or more, or that of the container (pids)."
        ) from error
    finally:
        done.set()
        for thread in started:
            thread.join()


def _require_answer(address: str) -> None:
    host, separator, port = address.rpartition(":")
    if "://" in address:  # Ray's client, through which Ray Tune cannot work
        raise failed_join(ValueError(f"not an address of the form host:port: {address}"), address)
    if not separator or not port.isdecimal():
        return  # "auto", or what Ray says itself
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S) as connection:
            is_grpc = os.environ.get("RAY_USE_TLS") == "1" or _answers_as_grpc(connection)
    except (OSError, OverflowError) as error:
        raise failed_join(error, address) from error
    if not is_grpc:
        raise failed_join(ConnectionError("what answers there is not Ray's GCS"), address)


def _answers_as_grpc(connection: socket.socket) -> bool:
    """Tell whether the other side opens HTTP/2 as servers of gRPC do: with a frame of settings."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _EMPTY_SETTINGS)
    frame = connection.recv(len(_EMPTY_SETTINGS), socket.MSG_WAITALL)
    return len(frame) == len(_EMPTY_SETTINGS) and frame[3] == _SETTINGS


def _raise_file_limit() -> None:
    """Take the file handles that this user may have; Ray's servers inherit them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
