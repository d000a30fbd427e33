"""GPUs of this machine that a run may use: CUDA_VISIBLE_DEVICES, read as CUDA reads it.

CUDA ignores an entry that it does not know, and all entries behind it. Ray counts every entry instead, and counts the
cards, so several MIG devices on one card would be one GPU. https://docs.nvidia.com/cuda/cuda-c-programming-guide,
"CUDA Environment Variables".
"""

import csv
import re
import shutil
import subprocess
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tuner.exceptions import MachineError, UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"
_ORDER_VARIABLE = "CUDA_DEVICE_ORDER"

_PART = "MIG-"
_UUIDS = ("GPU-", _PART)
_LISTED = re.compile(r"^(\s*)(?:GPU|MIG) .*\(UUID: ([^)]+)\)")
_USAGE = ("index", "uuid", "memory.used", "memory.total", "utilization.gpu", "name")

_TIMEOUT_S = 20.0
"""Timeout of nvidia-smi, which takes seconds while no process uses the driver, and hangs if the driver does."""

_BUSY_SHARE = 0.1
"""Share of the memory of a GPU that is in use on a busy one; the driver takes a little of an idle one."""


class Gpu(NamedTuple):
    """GPU as nvidia-smi lists it."""

    uuid: str
    parts: tuple[str, ...]
    """UUIDs of its MIG devices."""


def parsed_choice(text: str | None) -> int | tuple[str, ...] | None:
    """Parse the value of `--gpus`: a number of GPUs, or the indices of some; None for all.

    Raises:
        UsageError: It is neither.
    """
    if text is None:
        return None
    if text.isdecimal() and text.isascii():
        return int(text)
    indices = tuple(text.removesuffix(",").split(","))
    if not all(index.isdecimal() and index.isascii() for index in indices) or len(set(indices)) < len(indices):
        raise UsageError(
            "--gpus must be a number of GPUs, such as 8, or a list of different indices, such as '0,2,5', or '2,' for "
            f"GPU 2 alone, but got '{text}'."
        )
    return indices


def read_choice(text: str | None, *, address: str | None, environment: MutableMapping[str, str]) -> int | None:
    """Read the value of `--gpus`: a number, or a list of GPUs, which become the only visible ones.

    Args:
        text: Number of GPUs, or indices with commas, such as `0,2,5` or `2,`; None for all GPUs.
        address: Running Ray cluster to join, where only a number is possible; None for this machine.
        environment: Environment variables of this process.

    Returns:
        Number of GPUs; None for all.

    Raises:
        UsageError: It is neither.
        MachineError: A GPU does not exist.
    """
    indices = parsed_choice(text)
    if not isinstance(indices, tuple):
        return indices
    if address is not None:
        raise UsageError(
            f"--gpus must be a number with --address, because the cluster assigns the GPUs, but got '{text}'."
        )
    gpus = _listed()
    there = visible(environment.get(VARIABLE), gpus)
    if there is None:
        there = tuple(map(str, range(len(gpus or ()))))
    missing = next((index for index in indices if int(index) >= len(there)), None)
    if missing is not None:
        raise MachineError(
            f"--gpus must list GPUs that exist, 0 to {len(there) - 1}, but got {missing}; `nvidia-smi -L` lists them."
            if there
            else f"--gpus lists GPU {missing}, but no GPU is visible here; use --gpus 0 to train on the CPU."
        )
    environment[VARIABLE] = ",".join(there[int(index)] for index in indices)
    return len(indices)


def cannot_share(trials_per_gpu: int | None) -> UsageError:
    """Return the error for trials that should share a GPU where there is none; None stands for auto."""
    given = "auto" if trials_per_gpu is None else trials_per_gpu
    return UsageError(
        f"--trials-per-gpu must be 1 on a CPU, but got {given}; use --parallel for the number of trials at once."
    )


def settle(environment: MutableMapping[str, str]) -> int | None:
    """Make the visible GPUs explicit, and their order that of nvidia-smi; call it before CUDA or Ray starts.

    Returns:
        Number of visible GPUs; None if Ray should count them.
    """
    environment.setdefault(_ORDER_VARIABLE, "PCI_BUS_ID")
    gpus = _listed()
    found = visible(environment.get(VARIABLE), gpus)
    if found is not None:
        environment[VARIABLE] = ",".join(found)
    return len(found) if found is not None and (gpus is not None or not found) else None


def visible(value: str | None, gpus: Sequence[Gpu] | None) -> tuple[str, ...] | None:
    """Return the visible devices under names that CUDA accepts.

    Args:
        value: CUDA_VISIBLE_DEVICES; None if it is not set.
        gpus: GPUs of the machine; None if they are not known.

    Returns:
        Indices and UUIDs; None for all GPUs.
    """
    if value is None:
        if not any(gpu.parts for gpu in gpus or ()):
            return None
        return tuple(name for index, gpu in enumerate(gpus or ()) for name in gpu.parts or (str(index),))
    found: list[str] = []
    for entry in map(str.strip, value.split(",")):
        if not _is_known(entry, gpus):
            break
        found.append(entry)
    return tuple(found)


def are_parts(environment: MutableMapping[str, str]) -> bool:
    """Check whether the visible devices are MIG devices. A process can use only one of those."""
    return environment.get(VARIABLE, "").startswith(_PART)


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """Use of a GPU, as nvidia-smi tells it."""

    index: str
    used_gib: float
    total_gib: float
    busy_percent: str
    name: str


def busy_notes(environment: MutableMapping[str, str]) -> Iterator[str]:
    """Describe in one line each the visible GPUs that other processes use."""
    for gpu in visible_usage(environment):
        if gpu.used_gib > _BUSY_SHARE * gpu.total_gib:
            yield (
                f"GPU {gpu.index} is in use: {gpu.used_gib:.1f} of {gpu.total_gib:.1f} GiB, "
                f"{gpu.busy_percent} % busy; runs there may lack memory (--gpus with a list of others leaves it out)"
            )


def visible_usage(environment: MutableMapping[str, str]) -> Iterator[GpuUsage]:
    """Yield the use of each visible GPU; nothing if nvidia-smi does not tell, as with MIG devices."""
    shown = visible(environment.get(VARIABLE), _listed())
    output = _nvidia_smi(f"--query-gpu={','.join(_USAGE)}", "--format=csv,noheader,nounits") or ""
    for row in csv.reader(output.splitlines(), skipinitialspace=True):
        if len(row) != len(_USAGE) or not row[2].isdecimal() or not row[3].isdecimal():  # [N/A] with MIG
            continue
        index, uuid, used_mib, total_mib, busy_percent, name = row
        if shown is None or any(entry == index or uuid.startswith(entry) for entry in shown):
            yield GpuUsage(index, int(used_mib) / 1024, int(total_mib) / 1024, busy_percent, name)


def _is_known(entry: str, gpus: Sequence[Gpu] | None) -> bool:
    if entry.isdecimal() and entry.isascii():
        return gpus is None or int(entry) < len(gpus)
    if not entry.startswith(_UUIDS):
        return False
    return gpus is None or any(uuid.startswith(entry) for gpu in gpus for uuid in (gpu.uuid, *gpu.parts))


def _listed() -> tuple[Gpu, ...] | None:
    """Return the GPUs of this machine; None if nvidia-smi cannot tell."""
    output = _nvidia_smi("-L")
    if output is None:
        return None
    found: list[Gpu] = []
    for line in output.splitlines():
        listed = _LISTED.match(line)
        if listed and not listed[1]:
            found.append(Gpu(listed[2], ()))
        elif listed and found:
            found[-1] = found[-1]._replace(parts=(*found[-1].parts, listed[2]))
    return tuple(found)


def _nvidia_smi(*arguments: str) -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
