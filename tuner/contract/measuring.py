"""Define the measurement of a trained model: its size, its operations, and its latency on the trainer's machine."""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureRequest:
    """Measure a trained model."""

    type: ClassVar[str] = "measure"
    weights: str
    """Absolute path of the weights, such as best.pt; they are only read."""
    imgsz: int
    """Side of the square image in pixels."""
    use_gpu: bool
    """Measure on the first GPU if there is one; otherwise on the CPU."""
    threads: int
    """CPU threads, at least 1."""
    directory: str
    """Absolute path of an existing folder for the log and the exported model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Time that one runtime takes for a batch of one image: the network alone, without loading, scaling and NMS."""

    runtime: str
    """Name and version, such as "torch 2.14.1"."""
    device: str
    """Device, for people."""
    p50_ms: float
    p95_ms: float
    runs: int
    """Number of measured runs."""
    warm_up_runs: int
    """Number of runs before those."""
    file_bytes: int
    """Size of the file that was run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredRecord:
    """Report the measurement of a trained model."""

    type: ClassVar[str] = "measured"
    imgsz: int
    threads: int
    """CPU threads of each runtime."""
    num_parameters: int
    gflops: float | None
    """Billions of floating-point operations for one image; None if they cannot be counted."""
    latencies: tuple[Latency, ...]
    notes: tuple[str, ...] = ()
    """Parts that were not measured, with the reasons, and other notes for the user, one line each."""
