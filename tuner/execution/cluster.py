"""Connect to Ray, started here or joined, and divide its machines into slots for trials."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

from tuner.exceptions import MachineError
from tuner.execution import ray_node
from tuner.execution.visible_gpus import settle
from tuner.system.scratch import scratch_folder

_GIB_PER_CPU_SLOT = 2.0
"""Memory in GiB that the trainer of a small detector needs on a CPU, including torch."""

_MAX_LOADERS = 8
"""Maximum data-loading processes of one trial; more rarely help one GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Number of trials that train in parallel, and the resources of each."""

    number: int
    gpus_per_trial: int
    threads: int
    """CPU threads or data-loading processes of one trial."""
    cpus: float
    """Number of Ray's CPUs that one trial reserves; below 1 if there are more GPUs than cores."""

    @property
    def resources(self) -> dict[str, float]:
        return {"cpu": self.cpus, "gpu": float(self.gpus_per_trial)}

    def __str__(self) -> str:
        what = "one GPU each" if self.gpus_per_trial else f"{self.threads} CPU thread(s) each"
        return f"{self.number} slot(s), {what}"


@contextlib.contextmanager
def connected(*, gpus: int | None, parallel: int | None, address: str | None) -> Iterator[Slots]:
    """Start Ray on this machine, or join it at `address`, for the duration of the block.

    Args:
        gpus: Number of GPUs to use, one per trial; 0 for the CPU, None for all GPUs.
        parallel: Number of parallel trials; None for one per GPU, or for one per core if memory allows.
        address: Running Ray cluster ("auto" or host:port); None starts Ray here.

    Raises:
        MachineError: Ray cannot be started or joined, or has fewer GPUs than requested.
    """
    cores = len(os.sched_getaffinity(0))
    number = parallel or _cpu_slots(cores)
    num_gpus = None if address else settle(os.environ)
    with scratch_folder() as folder, _running(address, max(cores, number), num_gpus, folder):
        available = int(ray.cluster_resources().get("GPU", 0))
        wanted = available if gpus is None else gpus
        if wanted > available:
            raise MachineError(
                f"--gpus must be at most the number of GPUs that Ray sees, {available}, but got {wanted}; "
                "use --gpus 0 to train on the CPU."
            )
        total_cpus = ray.cluster_resources().get("CPU", 1.0)
        yield _gpu_slots(wanted, parallel, total_cpus) if wanted else _slots_on_cpu(number, total_cpus)


@contextlib.contextmanager
def _running(address: str | None, num_cpus: int, num_gpus: int | None, folder: Path) -> Iterator[None]:
    try:
        if address:
            ray_node.join(address)
        else:
            ray_node.start(num_cpus, num_gpus, folder)
        yield
    finally:
        ray.shutdown()


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
