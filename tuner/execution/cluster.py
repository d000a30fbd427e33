"""Connect to Ray, started here or joined, and divide its machines into slots for trials."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import ray

from tuner.exceptions import MachineError
from tuner.execution import ray_node
from tuner.execution.allotment import available_gpus
from tuner.execution.gpu_kinds import GpuKind, kinds_here, kinds_of_cluster
from tuner.execution.visible_gpus import cannot_share, settle
from tuner.system.grant_folder import VARIABLE
from tuner.system.scratch import scratch_folder

_GIB_PER_CPU_SLOT = 2.0
"""Memory in GiB that the trainer of a small detector needs on a CPU, including torch."""

_MAX_LOADERS = 8
"""Maximum data-loading processes of one trial; more rarely help one GPU."""

_RAY_UNITS = 10_000
"""Units of one resource that Ray can tell apart. A share is rounded down to them, so that all shares fit."""

_JOIN_S = 30.0
"""Time for machines to join a cluster whose head trains nothing, in seconds."""
_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """Number of trials that train in parallel, and the resources of each."""

    number: int
    gpus_per_trial: int
    threads: int
    """CPU threads or data-loading processes of one trial."""
    cpus: float
    """Number of Ray's CPUs that one trial reserves; below 1 if there are more trials than cores."""
    trials_per_gpu: int = 1
    """Maximum number of trials that share a GPU."""
    gpus: int = 0
    """Maximum number of GPUs that the slots are on; 0 on the CPU."""
    gpu_kinds: tuple[GpuKind, ...] = ()
    """Kinds of the GPUs that a trial may land on, as far as they are known; empty on the CPU."""

    @property
    def gpu_share(self) -> float:
        """Share of its GPU that a trial has, 0..1."""
        return 1 / self.trials_per_gpu

    @property
    def places(self) -> int:
        """Minimum number of different devices that the slots are on."""
        return math.ceil(self.number / self.trials_per_gpu)

    @property
    def resources(self) -> dict[str, float]:
        return {"cpu": self.cpus, "gpu": _rounded_down(self.gpus_per_trial / self.trials_per_gpu)}

    def __str__(self) -> str:
        what = f"{self.threads} CPU thread(s) each"
        if self.gpus_per_trial:
            what = "one GPU each" if self.trials_per_gpu == 1 else f"1/{self.trials_per_gpu} GPU each"
        return f"{self.number} slot(s), {what}"


@contextlib.contextmanager
def connected(
    *,
    gpus: int | None,
    parallel: int | None,
    address: str | None,
    trials_per_gpu: int | None = 1,
    uninterrupted: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Iterator[Slots]:
    """Start Ray on this machine, or join it at `address`, for the duration of the block.

    Args:
        gpus: Number of GPUs to use; 0 for the CPU, None for all GPUs.
        parallel: Number of parallel trials; None for as many as the GPUs take, or for one per core if memory allows.
        address: Running Ray cluster ("auto" or host:port); None starts Ray here.
        trials_per_gpu: Maximum number of trials that share a GPU; None for one until it is measured (see `divided`).
        uninterrupted: Returns a context in which no signal raises. Ray is shut down in it: half shut down, it would
            end this process with exit code 1, without a message, as soon as Python collects one of its objects.

    Raises:
        MachineError: Ray cannot be started or joined, or has fewer GPUs than requested.
        UsageError: Trials should share a GPU, but there is none.
    """
    cores = len(os.sched_getaffinity(0))
    is_granted = VARIABLE in os.environ
    number = parallel or _cpu_slots(cores)
    num_gpus = None if address else settle(os.environ)
    with scratch_folder() as folder, _running(address, max(cores, number), num_gpus, folder, uninterrupted):
        if is_granted and gpus is not None:  # the queue grants what the cluster has, at most this number
            gpus = min(gpus, available_gpus())
        if _gpus(gpus):
            slots = divided(
                gpus=gpus, parallel=parallel, trials_per_gpu=trials_per_gpu or 1, is_cluster=address is not None
            )
            yield replace(slots, gpu_kinds=kinds_of_cluster() if address else kinds_here(os.environ))
            return
        if trials_per_gpu != 1:
            raise cannot_share(trials_per_gpu)
        total_cpus = _joined_cpus(address)
        if is_granted:  # a queue grants CPUs, so each slot is one
            number = min(parallel or int(total_cpus), int(total_cpus))
            yield Slots(number=number, gpus_per_trial=0, threads=1, cpus=1.0)
        else:
            yield _slots_on_cpu(number, total_cpus)


def divided(*, gpus: int | None, parallel: int | None, trials_per_gpu: int, is_cluster: bool) -> Slots:
    """Divide the GPUs of the running Ray into slots. The other arguments are those of `connected`.

    If fewer trials are wanted than the GPUs take, no more trials share a GPU than necessary.

    Args:
        gpus: Number of GPUs to use; None for all.
        parallel: Number of parallel trials; None for as many as the GPUs take.
        trials_per_gpu: Maximum number of trials that share a GPU.
        is_cluster: The GPUs are those of a cluster, where other runs may train and machines may join. The CPUs of one
            slot must not keep others from a free GPU, so a slot reserves one at most.
    """
    wanted = _gpus(gpus)
    per_gpu = min(trials_per_gpu, math.ceil((parallel or trials_per_gpu * wanted) / wanted))
    number = min(parallel or per_gpu * wanted, per_gpu * wanted)
    total_cpus = ray.cluster_resources().get("CPU", 0.0)
    neighbours = per_gpu * available_gpus() if VARIABLE in os.environ else number
    threads = max(1, min(_MAX_LOADERS, int(total_cpus / neighbours)))
    cpus = min(1.0 if is_cluster else threads, _rounded_down(total_cpus / neighbours))
    return Slots(
        number=number,
        gpus_per_trial=1,
        threads=threads,
        cpus=cpus,
        trials_per_gpu=per_gpu,
        gpus=min(wanted, number),
    )


def _gpus(gpus: int | None) -> int:
    """Return the number of GPUs to use, by the value of `--gpus`."""
    available = available_gpus()
    wanted = available if gpus is None else gpus
    if wanted > available:
        raise MachineError(
            f"--gpus must be at most the number of GPUs that Ray sees, {available}, but got {wanted}; "
            "use --gpus 0 to train on the CPU."
        )
    return wanted


def _rounded_down(amount: float) -> float:
    """Round an amount of a resource down to what Ray can tell apart, so that all parts fit however Ray rounds."""
    return math.floor(amount * _RAY_UNITS + 1e-6) / _RAY_UNITS


@contextlib.contextmanager
def _running(
    address: str | None,
    num_cpus: int,
    num_gpus: int | None,
    folder: Path,
    uninterrupted: Callable[[], contextlib.AbstractContextManager[None]],
) -> Iterator[None]:
    try:
        if address:
            ray_node.join(address)
        else:
            ray_node.start(num_cpus, num_gpus, folder)
        yield
    finally:
        with uninterrupted():
            ray.shutdown()


def _joined_cpus(address: str | None) -> float:
    """Return the number of CPUs of the running Ray, as soon as it has one: machines may join after the head.

    Raises:
        MachineError: No machine with a CPU joins in time.
    """
    deadline_s = time.monotonic() + _JOIN_S
    while not (total_cpus := ray.cluster_resources().get("CPU", 0.0)):
        if time.monotonic() > deadline_s:
            raise MachineError(
                f"The Ray cluster at '{address}' must have a machine with CPUs, or with GPUs that --gpus allows, but "
                f"none has joined within {_JOIN_S:.0f} s; start machines with `ray start --address=HEAD:6379`, then "
                "run the same command again."
            )
        time.sleep(_POLL_S)
    return float(total_cpus)


def _cpu_slots(cores: int) -> int:
    memory_gib = psutil.virtual_memory().available / 2**30
    return max(1, min(cores, int(memory_gib / _GIB_PER_CPU_SLOT)))


def _slots_on_cpu(number: int, total_cpus: float) -> Slots:
    # A trial cannot span machines.
    per_slot = min(total_cpus / number, max(node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]))
    threads = max(1, int(per_slot))
    return Slots(number=number, gpus_per_trial=0, threads=threads, cpus=min(threads, _rounded_down(per_slot)))
