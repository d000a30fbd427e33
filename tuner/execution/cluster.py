"""The machines: Ray, started here or joined, and the slots that trials occupy."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import ray

from tuner.exceptions import EnvironmentProblem
from tuner.execution import ray_node
from tuner.system.scratch import scratch_folder

_GIB_PER_CPU_SLOT = 2.0
"""What a small detector's trainer needs on a CPU, torch included."""

_MAX_LOADERS = 8
"""Data-loading processes of one trial; more seldom helps one GPU."""


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
    cores = len(os.sched_getaffinity(0))
    number = parallel or _cpu_slots(cores)
    with scratch_folder() as folder, _running(address, num_cpus=max(cores, number), folder=folder):
        available = int(ray.cluster_resources().get("GPU", 0))
        wanted = available if gpus is None else gpus
        if wanted > available:
            raise EnvironmentProblem(
                f"--gpus must be at most the number of GPUs that Ray sees, {available}, but got {wanted}; "
                "--gpus 0 trains on the CPU."
            )
        total_cpus = ray.cluster_resources().get("CPU", 1.0)
        yield _gpu_slots(wanted, parallel, total_cpus) if wanted else _slots_on_cpu(number, total_cpus)


@contextlib.contextmanager
def _running(address: str | None, num_cpus: int, folder: Path) -> Iterator[None]:
    try:
        if address:
            ray_node.join(address)
        else:
            ray_node.start(num_cpus, folder)
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
