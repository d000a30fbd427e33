"""Describe the job that a batch script asks SLURM for, and check it as far as this is possible without SLURM."""

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tuner.exceptions import UsageError
from tuner.system.printable import printable

WARNING_S = 90
"""Seconds between SLURM's warning and the end of a job. A run ends in order within 30 of them."""

_GPUS = re.compile(r"(?:[A-Za-z][\w.-]*:)?([1-9]\d*)", re.ASCII)
_MEMORY = re.compile(r"\d+[KMGT]?", re.ASCII)
_TIMES = (
    r"(?P<minutes>\d+)",
    r"(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>\d+)",
    r"(?P<days>\d+)-(?P<hours>\d+)(?::(?P<minutes>\d+)(?::(?P<seconds>\d+))?)?",
)
"""Forms of a time limit: https://slurm.schedmd.com/sbatch.html, --time."""

_SECONDS = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Request for a job, as options of sbatch; None leaves the choice to SLURM.

    Raises:
        UsageError: sbatch would refuse a value, or the values exclude each other.
    """

    name: str
    nodes: int = 1
    gpus: str | None = None
    """GPUs in total, [TYPE:]N; the nodes may have different numbers of them."""
    gpus_per_node: str | None = None
    """GPUs of each node, [TYPE:]N."""
    cpus_per_task: int | None = None
    """CPUs of each node, because one task starts Ray on each."""
    mem: str | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None

    def __post_init__(self) -> None:
        self._check_gpus()
        if self.mem is not None and not _MEMORY.fullmatch(self.mem):
            raise UsageError(f"--mem must be the memory of a node, such as 64G, but got '{printable(self.mem)}'.")
        if self.time is not None and (_seconds(self.time) or 0) <= WARNING_S:
            raise UsageError(
                f"--time must be a time of SLURM of more than {WARNING_S} s, such as 12:00:00 or 2-00:00:00, but got "
                f"'{printable(self.time)}'."
            )
        for option, value in self._options():
            if not value or printable(value) != value:
                raise UsageError(f"{option} must be a value without control characters, but got '{printable(value)}'.")

    @property
    def num_gpus(self) -> int | None:
        """Number of GPUs in total; None if the job does not ask for GPUs."""
        per_node = _number(self.gpus_per_node)
        return per_node * self.nodes if per_node else _number(self.gpus)

    @property
    def gpus_of_one_node(self) -> int | None:
        """Number of GPUs of every node; None if the job does not determine it."""
        return _number(self.gpus) if self.nodes == 1 and self.gpus else _number(self.gpus_per_node)

    def directives(self) -> Iterator[str]:
        """Yield the options, each quoted for a line that starts with `#SBATCH`."""
        for option, value in self._options():
            yield f"{option}={shlex.quote(value)}"

    def _check_gpus(self) -> None:
        if self.gpus is not None and self.gpus_per_node is not None:
            raise UsageError("--gpus and --gpus-per-node exclude each other, but both are given; omit one.")
        for option, value in (("--gpus", self.gpus), ("--gpus-per-node", self.gpus_per_node)):
            if value is not None and not _GPUS.fullmatch(value):
                raise UsageError(
                    f"{option} must be a number of GPUs, such as 4 or a100:4, but got '{printable(value)}'; leave it "
                    "out for a job without GPUs."
                )
        if self.gpus is not None and (self.num_gpus or 0) < self.nodes:
            raise UsageError(
                f"--gpus must be at least the number of nodes, {self.nodes}, but got {self.gpus}; use fewer nodes."
            )

    def _options(self) -> Iterator[tuple[str, str]]:
        given = {
            "--job-name": self.name,
            "--nodes": self.nodes,
            "--ntasks-per-node": 1,
            "--gpus": self.gpus,
            "--gpus-per-node": self.gpus_per_node,
            "--cpus-per-task": self.cpus_per_task,
            "--mem": self.mem,
            "--time": self.time,
            "--partition": self.partition,
            "--account": self.account,
            "--qos": self.qos,
            "--constraint": self.constraint,
        }
        yield from ((option, str(value)) for option, value in given.items() if value is not None)


def _number(gpus: str | None) -> int | None:
    found = _GPUS.fullmatch(gpus or "")
    return int(found[1]) if found else None


def _seconds(time: str) -> float | None:
    """Return a time of SLURM in seconds; None if it is none."""
    if time.upper() in ("INFINITE", "UNLIMITED"):
        return math.inf
    for form in _TIMES:
        if found := re.fullmatch(form, time, re.ASCII):
            return sum(_SECONDS[unit] * int(number or 0) for unit, number in found.groupdict().items())
    return None
