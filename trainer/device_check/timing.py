"""Time of a piece of work on a device."""

import statistics
import time
from collections.abc import Callable

import torch

_WARM_UPS = 2
"""Runs before the measured ones: the first compiles, the second fills the memory pool."""
_LEAST_RUNS = 3
_MOST_RUNS = 50
_LIMIT_S = 2.0
"""Time after which no further run is measured, once there are enough, in seconds."""


def median_ms(work: Callable[[], object], device: torch.device) -> float:
    """Return the median time of a call in milliseconds, after calls that warm up."""
    for _ in range(_WARM_UPS):
        _seconds(work, device)
    times_s: list[float] = []
    while len(times_s) < _LEAST_RUNS or (len(times_s) < _MOST_RUNS and sum(times_s) < _LIMIT_S):
        times_s.append(_seconds(work, device))
    return 1000 * statistics.median(times_s)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    wait_for(device)
    began_s = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began_s


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
