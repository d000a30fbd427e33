"""Find out which kinds of GPUs a trial may land on, and the one with the least memory, which limits all trials."""

import contextlib
import math
import os
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.execution.visible_gpus import VARIABLE, visible_usage

_CONTEXT_GIB = 0.5
"""Memory of a process on a GPU that torch does not allocate: an assumption, that of `trainer.system.gpu_share`."""

_TIMEOUT_S = 60.0
"""Timeout of the machines of a cluster; nvidia-smi itself may take 20 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuKind:
    """GPUs of the same name and memory."""

    name: str
    """Name as nvidia-smi and torch give it."""
    memory_gib: float
    """Memory of one GPU, in GiB."""
    places: tuple[str, ...]
    """Indices of the GPUs on this machine, or addresses of the machines of a cluster that have them."""

    def room_gib(self, share: float) -> float:
        """Return the memory in GiB that a trainer can allocate in a share of the GPU, 0..1, next to its context."""
        return share * self.memory_gib - _CONTEXT_GIB

    def __str__(self) -> str:
        return f"{self.name}, {self.memory_gib:.0f} GiB"


def kinds_here(environment: MutableMapping[str, str]) -> tuple[GpuKind, ...]:
    """Return the kinds of the GPUs that are visible on this machine; empty if nvidia-smi does not tell."""
    return _kinds((gpu.name, gpu.total_gib, gpu.index) for gpu in visible_usage(environment))


def kinds_of_cluster() -> tuple[GpuKind, ...]:
    """Return the kinds of the GPUs of the running Ray cluster, as far as its machines tell; takes a second or more."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0)]
    asked = {_asked(node["NodeID"]): node["NodeManagerAddress"] for node in nodes}
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_TIMEOUT_S) if asked else ([], [])
    found: list[tuple[str, float, str]] = []
    for answer in answered:
        with contextlib.suppress(ray.exceptions.RayError):  # the search reports a machine that is lost
            found += [(name, memory_gib, asked[answer]) for name, memory_gib in ray.get(answer)]
    return _kinds(found)


def smallest_gpu(kinds: Sequence[GpuKind]) -> GpuKind | None:
    """Return the kind with the least memory; None if all have the same, so that any GPU shows what fits."""
    if len({round(kind.memory_gib) for kind in kinds}) < 2:
        return None
    return min(kinds, key=lambda kind: kind.memory_gib)


def common_room_gib(kinds: Sequence[GpuKind], share: float = 1.0) -> float:
    """Return the memory in GiB that the peak of a trial must not exceed on any GPU, although it was measured on one.

    Args:
        kinds: Kinds of the GPUs that the trial may land on.
        share: Share of its GPU that the trial has, 0..1.

    Returns:
        Infinity if all GPUs have the same memory, because the measurement itself shows what fits.
    """
    smallest = smallest_gpu(kinds)
    return math.inf if smallest is None else smallest.room_gib(share)


def kinds_note(kinds: Sequence[GpuKind], *, is_cluster: bool) -> str:
    """Describe the kinds in one line, with the one that limits the sizes; "" if there are fewer than two."""
    if len(kinds) < 2:
        return ""
    named = "; ".join(f"{','.join(kind.places)}: {kind}" for kind in kinds)
    parts = [f"the GPUs differ ({named})"]
    smallest = smallest_gpu(kinds)
    if smallest is not None:
        parts.append(f"batch and image size must fit on the smallest, {smallest}")
    parts.append("times of trials are compared")
    if not is_cluster:
        most = max((kind.places for kind in kinds), key=len)
        parts.append(f"to use one kind: --gpus {','.join(most) if len(most) > 1 else f'{most[0]},'}")
    return "; ".join(parts)


def _kinds(gpus: Iterable[tuple[str, float, str]]) -> tuple[GpuKind, ...]:
    """Group GPUs, given by name, memory in GiB and place, in the order in which their kinds appear."""
    found: dict[tuple[str, int], GpuKind] = {}
    for name, memory_gib, place in gpus:
        before = found.get((name, round(memory_gib)))
        places = () if before is None else before.places
        least_gib = memory_gib if before is None else min(memory_gib, before.memory_gib)
        here = (place,) if place not in places else ()
        found[name, round(memory_gib)] = GpuKind(name=name, memory_gib=least_gib, places=(*places, *here))
    return tuple(found.values())


def _asked(node_id: str) -> Any:
    """Ask a machine of the cluster for name and memory in GiB of each GPU."""
    there = NodeAffinitySchedulingStrategy(node_id, soft=False)
    return _GpusOfNode.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()


def _gpus_of_node() -> list[tuple[str, float]]:
    # Some releases of Ray hide all GPUs from a task that reserves none.
    environment = {name: value for name, value in os.environ.items() if (name, value) != (VARIABLE, "")}
    return [(gpu.name, gpu.total_gib) for gpu in visible_usage(environment)]


_GpusOfNode: Any = ray.remote(_gpus_of_node)
