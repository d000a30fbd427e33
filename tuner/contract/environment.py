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


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentRecord:
    """Report what the trainer trains with, and what is wrong with it."""

    type: ClassVar[str] = "environment_report"
    versions: Mapping[str, str]
    """By package name."""
    gpus: tuple[Gpu, ...]
    """In the order of the indices in `TrainRequest.devices`; empty if it trains on the CPU."""
    cuda: str = ""
    """Version of CUDA; empty without CUDA."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What else `tune doctor` is to show, by label."""
    problems: tuple[str, ...] = ()
    """One line each: what is wrong, and the remedy."""
