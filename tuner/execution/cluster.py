"""The machines: Ray, started here or joined, and the slots that trials occupy."""

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import ray
from ray._private import ray_constants

from tuner.exceptions import EnvironmentProblem

_GIB_PER_CPU_SLOT = 2.0
"""What a small detector's trainer needs on a CPU, torch included."""

_MAX_LOADERS = 8
"""Data-loading processes of one trial; more seldom helps one GPU."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """How many trials train at once, and what each has."""

    number: int
    gpus_per_trial: int
    threads: int
    """CPU threads, or data-loading processes, of one trial."""
    cpus: float
    """The share of Ray's CPUs that one trial books; below 1 where there are more GPUs than cores."""

    @property
    def resources(self) -> dict[str, float]:
        return {"cpu": self.cpus, "gpu": float(self.gpus_per_trial)}

    def __str__(self) -> str:
        what = "one GPU each" if self.gpus_per_trial else f"{self.threads} CPU thread(s) each"
        return f"{self.number} slot(s), {what}"


@contextlib.contextmanager
def connected(*, gpus: int | None, parallel: int | None, address: str | None) -> Iterator[Slots]:
    """Ray for the time of the block, started on this machine or joined at `address`.

    Args:
        gpus: GPUs to use, one a trial; 0 for the CPU; none for all that there are.
        parallel: Trials at once, if not one a GPU, or one a core as far as memory allows.
        address: A running Ray cluster ("auto", or host:port).

    Raises:
        EnvironmentProblem: Ray cannot be started or joined, or has fewer GPUs than asked for.
    """
    os.environ.update(_ENVIRONMENT)
    cores = len(os.sched_getaffinity(0))
    number = parallel or _cpu_slots(cores)
    _start(address, num_cpus=None if address else max(cores, number))
    try:
        available = int(ray.cluster_resources().get("GPU", 0))
        wanted = available if gpus is None else gpus
        if wanted > available:
            raise EnvironmentProblem(
                f"--gpus must be at most the number of GPUs that Ray sees, {available}, but got {wanted}; "
                "--gpus 0 trains on the CPU."
            )
        total_cpus = ray.cluster_resources().get("CPU", 1.0)
        yield _gpu_slots(wanted, parallel, total_cpus) if wanted else _slots_on_cpu(number, total_cpus)
    finally:
        ray.shutdown()


def _start(address: str | None, num_cpus: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            _keep_to_this_machine()
            # "local" is said out loud: RAY_ADDRESS would make this join a cluster.
            ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        what = f"join the Ray cluster at '{address}'" if address else "start Ray on this machine"
        raise EnvironmentProblem(f"Cannot {what}: {reason}") from error
    for name in ("ray", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


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


def _cpu_slots(cores: int) -> int:
    memory_gib = psutil.virtual_memory().available / 2**30
    return max(1, min(cores, int(memory_gib / _GIB_PER_CPU_SLOT)))


def _slots_on_cpu(number: int, total_cpus: float) -> Slots:
    threads = max(1, int(total_cpus / number))
    return Slots(number=number, gpus_per_trial=0, threads=threads, cpus=min(threads, total_cpus / number))


def _gpu_slots(gpus: int, parallel: int | None, total_cpus: float) -> Slots:
    number = min(parallel or gpus, gpus)
    threads = max(1, min(_MAX_LOADERS, int(total_cpus / number)))
    return Slots(number=number, gpus_per_trial=1, threads=threads, cpus=min(threads, total_cpus / number))
