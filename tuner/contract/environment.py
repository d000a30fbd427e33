"""Define the report on a trainer's environment: versions, GPUs and problems."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentRequest:
    """Describe the environment that the trainer trains in."""

    type: ClassVar[str] = "environment"
    directory: str
    """Absolute path of an existing folder for the log."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """Describe a GPU that the trainer can use."""

    name: str
    memory_gib: float
    free_gib: float | None = None
    """Memory that a process can still get, in GiB; None if the trainer does not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentRecord:
    """Report the trainer's environment and its problems."""

    type: ClassVar[str] = "environment_report"
    versions: Mapping[str, str]
    """Versions by package name."""
    gpus: tuple[Gpu, ...]
    """GPUs, in the order of the indices in `TrainRequest.devices`; empty if the trainer uses the CPU."""
    cuda: str = ""
    """Version of CUDA; empty without CUDA."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Further facts for `tune doctor` to show, by label."""
    problems: tuple[str, ...] = ()
    """Problems with their remedies, one line each."""
