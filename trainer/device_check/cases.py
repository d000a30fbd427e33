"""Inputs of the selective scan with the shapes that Mamba-YOLO has, and the implementations that work on a device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.nn.selective_scan import NAMES, BackendUnavailableError, cross_selective_scan
from trainer.nn.ss2d import NUM_DIRECTIONS, NUM_STATES

CrossScan = Callable[..., Tensor]
"""Function with the arguments of `cross_selective_scan`."""

_FOR_DEVICE = {"cpu": ("native", "torch"), "cuda": ("triton", "mamba_ssm", "torch")}


@dataclass(frozen=True)
class Map:
    """Map that an SS2D layer scans."""

    side: int
    """Height and width in pixels."""
    channels: int
    """Inner channels of the layer; each of the four paths scans all of them."""
    batch: int = 1

    @property
    def length(self) -> int:
        """Tokens of a path."""
        return self.side**2

    def __str__(self) -> str:
        return f"{self.batch} x {self.side} x {self.side} x {self.channels}"


class Inputs(NamedTuple):
    """Arguments of `cross_selective_scan`."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    delta_bias: Tensor

    def to(self, dtype: torch.dtype, *, needs_gradient: bool) -> "Inputs":
        """Return detached copies with another type."""
        return Inputs(*(x.detach().to(dtype, copy=True).requires_grad_(needs_gradient) for x in self))


def inputs(shape: Map, device: torch.device, dtype: torch.dtype) -> tuple[Inputs, Tensor]:
    """Make random arguments like those of a new model, and a gradient of the output.

    `u`, `delta`, `B` and `C` have the type, the parameters and the gradient are float32.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(size, generator=generator).to(device, dtype)

    pixels = shape.batch, shape.side, shape.side
    made = Inputs(
        u=normal(*pixels, shape.channels, dtype=dtype),
        delta=normal(*pixels, NUM_DIRECTIONS, shape.channels, dtype=dtype),
        A=-torch.exp(0.5 * normal(NUM_DIRECTIONS, shape.channels, NUM_STATES)),
        B=normal(*pixels, NUM_DIRECTIONS, NUM_STATES, dtype=dtype),
        C=normal(*pixels, NUM_DIRECTIONS, NUM_STATES, dtype=dtype),
        D=normal(NUM_DIRECTIONS, shape.channels),
        delta_bias=normal(NUM_DIRECTIONS, shape.channels),
    )
    return made, normal(*pixels, shape.channels)


def scans_on(device: torch.device) -> tuple[dict[str, CrossScan], list[str]]:
    """Return the implementations that work on a device by name, and a note on each one that does not."""
    scans: dict[str, CrossScan] = {}
    notes = []
    probe, _ = inputs(Map(side=1, channels=1), device, torch.float32)
    for name in _FOR_DEVICE.get(device.type, NAMES):
        try:
            cross_selective_scan(*probe, backend=name)
        except BackendUnavailableError as error:
            notes.append(str(error))
        else:
            scans[name] = partial(cross_selective_scan, backend=name)
    return scans, notes


def half_on(device: torch.device) -> torch.dtype | None:
    """Return the type of autocast in training on a device: float16 on a GPU, none on a CPU."""
    return torch.float16 if device.type == "cuda" else None


def relative_error(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest error of an entry, as a share of the largest entry of its tensor; NaN if a value is NaN."""
    errors = [
        ((x.double() - right).abs().max() / right.abs().max().clamp_min(1e-30)).item()
        for x, right in zip(got, expected, strict=True)
    ]
    return float(torch.tensor(errors).max())
