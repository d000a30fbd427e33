"""Breakdown of a training step's time by part of the model, from torch's profiler."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

LOSS = "loss"
"""Name of the `record_function` block that contains the loss."""

# The words select the part of an operator by name. The outermost caller with such a word decides, or else the operator
# itself: a copy inside a convolution counts as convolution.
_WORDS_OF_PARTS = {
    "loss": (LOSS,),
    "scan": ("selective_scan",),
    "convolutions": ("conv",),
    "norms": ("norm",),
    "activations": ("gelu", "silu", "sigmoid"),
    "matrix products": ("linear", "mm", "matmul"),
    "copies": ("copy", "clone", "contiguous", "cat"),
}
_REST = "rest"


@dataclass(frozen=True)
class Cost:
    """Cost of operators in one step, without the operators that they call."""

    operator: str
    """Operator name; `all` for the sum over a part."""
    part: str
    ms: float
    share: float


def breakdown(step: Callable[[], object], device: torch.device, steps: int) -> tuple[list[Cost], list[Cost]]:
    """Return the mean costs of `steps` steps, by part and by operator, most expensive first."""
    is_cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    step()
    # With its own threads, backward on a GPU would not be attributed to the part that requested it.
    with torch.autograd.set_multithreading_enabled(False), profile(activities=activities) as profiler:
        for _ in range(steps):
            step()

    parts: Counter[str] = Counter()
    operators: Counter[tuple[str, str]] = Counter()
    for event in _cpu_events(profiler):
        part = _part(event)
        us = event.self_device_time_total if is_cuda else event.self_cpu_time_total
        parts[part] += us
        operators[part, event.name] += us
    to_ms, total = 1e-3 / steps, parts.total()
    return (
        [Cost("all", part, us * to_ms, us / total) for part, us in parts.most_common()],
        [Cost(name, part, us * to_ms, us / total) for (part, name), us in operators.most_common()],
    )


def _cpu_events(profiler: profile) -> Iterator[FunctionEvent]:
    return (event for event in profiler.events() if event.device_type.name == "CPU")  # type: ignore[no-untyped-call]


def _part(event: FunctionEvent) -> str:
    for name in reversed([x.name.lower() for x in _with_callers(event)]):
        for part, words in _WORDS_OF_PARTS.items():
            if any(word in name for word in words):
                return part
    return _REST


def _with_callers(event: FunctionEvent | None) -> Iterator[FunctionEvent]:
    while event is not None:
        yield event
        event = event.cpu_parent
