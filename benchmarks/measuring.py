"""Time and peak memory of a piece of work."""

import ctypes
import gc
import math
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

Work = Callable[[], object]
"""Function to measure; its result stays alive until the measurement ends."""

# A GPU's implementations compile and tune themselves in their first runs.
_WARM_UPS_CPU, _WARM_UPS_OTHER = 1, 3
_SETTLES_BELOW_S = 1.0


def durations_s(
    works: Mapping[str, Work], device: torch.device, repeats: int, patience_s: float = math.inf
) -> dict[str, list[float]]:
    """Time each work `repeats` times after warming up, in alternation, so that noise affects all equally.

    In its turn a short work first runs once unmeasured, so that it does not pay for what the previous one left in the
    caches and in the allocator. Work that takes longer than `patience_s` seconds is not repeated: its first run counts.
    """
    seconds: dict[str, list[float]] = {}
    last_s: dict[str, float] = {}
    in_turn = dict(works)
    for warm_up in range(_WARM_UPS_CPU if device.type == "cpu" else _WARM_UPS_OTHER):
        for name, work in list(in_turn.items()):
            last_s[name] = _duration_s(work, device)
            if warm_up == 0 and last_s[name] > patience_s:
                seconds[name] = [last_s[name]]
                del in_turn[name]
    for _ in range(repeats):
        for name, work in in_turn.items():
            if last_s[name] < _SETTLES_BELOW_S:
                _duration_s(work, device)
            last_s[name] = _duration_s(work, device)
            seconds.setdefault(name, []).append(last_s[name])
    return {name: seconds[name] for name in works}


def _duration_s(work: Work, device: torch.device) -> float:
    _wait_for(device)
    start_s = time.perf_counter()
    result = work()
    _wait_for(device)
    end_s = time.perf_counter()
    del result  # freeing it is not counted
    return end_s - start_s


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_ms(seconds: Sequence[float]) -> float:
    return 1e3 * statistics.median(seconds)


@contextmanager
def num_threads(number: int) -> Iterator[None]:
    """Let torch use `number` threads per operation."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_bytes(work: Work, device: torch.device) -> int:
    """Measure the peak memory of `work` in bytes, beyond what is held before.

    On a CPU this is resident memory of the whole process (Linux), so measure in a fresh one.
    """
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    # Returns freed memory to the system. Otherwise the work would reuse it and the measurement would miss it.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the high-water mark: proc(5)
    before = _process_bytes("VmRSS")
    result = work()
    peak = _process_bytes("VmHWM") - before
    del result
    return peak


def _process_bytes(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        raise OSError(f"/proc/self/status has no {field}.")
    return 1024 * int(match[1])
