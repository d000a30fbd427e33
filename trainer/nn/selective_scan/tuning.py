"""Measure the Triton kernels' configurations on a GPU, for all later runs on GPUs of its kind.

gpu = gpu_of(device)
save(configuration_file(), gpu, tune(device, shapes))
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch

from trainer.nn.selective_scan import _triton
from trainer.nn.selective_scan._configurations import (
    CONFIGURATION_VARIABLE,
    Configuration,
    Gpu,
    Problem,
    Table,
    configuration_file,
    gpu_of,
    keep,
    load,
    save,
)
from trainer.nn.selective_scan._problem import CROSS, Scan, Ways

__all__ = [
    "CONFIGURATION_VARIABLE",
    "Configuration",
    "Gpu",
    "MapShape",
    "Problem",
    "Table",
    "configuration_file",
    "gpu_of",
    "keep",
    "load",
    "save",
    "tune",
]

_NUM_STATES = 16


class MapShape(NamedTuple):
    """Shape of the input of an SS2D's scan."""

    batch: int
    height: int
    width: int
    channels: int
    """Inner channels, twice those of the map."""


def tune(
    device: torch.device,
    shapes: Sequence[MapShape],
    *,
    milliseconds: Callable[[Callable[[], object]], float] = _triton.milliseconds,
    on_time: Callable[[Problem, Configuration, float], None] = lambda problem, config, ms: None,
) -> dict[Problem, Configuration]:
    """Time every candidate, forward and backward, on maps of these shapes, and return the fastest ones.

    The first of several shapes that are one `Problem` decides. Compiling takes seconds for each candidate.

    Args:
        device: CUDA device on which Triton works.
        shapes: Shapes to measure, in float32, as SS2D scans them.
        milliseconds: Measure of the time that a call takes.
        on_time: Called with the time of each candidate in milliseconds.
    """
    table: dict[Problem, Configuration] = {}
    for shape in shapes:
        scan, ways = _random_scan(device, shape)
        y, states = _triton.forward(scan, ways, save_states=True)
        for problem, candidates, run in _triton.runs(torch.ones_like(y), scan, ways, states):
            if problem not in table:
                times = [milliseconds(partial(run, config)) for config in candidates]
                table[problem] = candidates[times.index(min(times))]
                for config, ms in zip(candidates, times, strict=True):
                    on_time(problem, config, ms)
    return table


def _random_scan(device: torch.device, shape: MapShape) -> tuple[Scan, Ways]:
    generator = torch.Generator("cpu").manual_seed(0)

    def random(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=generator, device="cpu").to(device)

    batch, length, groups, channels = shape.batch, shape.height * shape.width, len(CROSS), shape.channels
    scan = Scan(
        u=random(batch, length, 1, channels),
        delta=random(batch, length, groups, channels),
        A=-torch.exp(random(groups, channels, _NUM_STATES)),
        B=random(batch, length, groups, _NUM_STATES),
        C=random(batch, length, groups, _NUM_STATES),
        D=random(groups, channels),
        bias=random(groups, channels),
    )
    return scan, Ways(shape.width, CROSS)
