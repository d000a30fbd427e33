"""Which implementation of the scan runs on a device: the fastest that works there."""

import logging
import os
from functools import cache

import torch
from torch import Tensor

from trainer.nn.selective_scan import _segmented
from trainer.nn.selective_scan._problem import CROSS, Backend, Path, Scan, Ways

ENVIRONMENT_VARIABLE = "MAMBA_YOLO_SCAN"
"""Names the implementation for calls that do not: `auto` or one of `NAMES`."""

_BACKENDS: dict[str, Backend] = {"torch": _segmented}
_FASTEST_FIRST = {"cpu": ("torch",), "cuda": ("torch",)}
NAMES = tuple(_BACKENDS)

_TOLERANCE = 1e-4

_logger = logging.getLogger(__name__)


class BackendUnavailable(RuntimeError):
    """The implementation that was asked for does not work on this device; the message says why."""


def named(name: str) -> Backend:
    """The implementation with this name, one of `NAMES`."""
    return _BACKENDS[name]


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def chosen(name: str, device: str, is_float64: bool) -> str:
    """The name of the implementation to run on `device` when `name`, or `auto`, is asked for.

    Raises:
        ValueError: There is no implementation of this name, or it does not compute in float64.
        BackendUnavailable: It does not work on this device.
    """
    if name == "auto":
        name = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
    if name not in ("auto", *NAMES):
        raise ValueError(f"There is no selective scan '{name}': choose auto, {', '.join(NAMES)}.")
    if is_float64 or device == "meta":
        if name not in ("auto", "torch"):
            raise ValueError(f"The selective scan '{name}' computes in float32; for float64 choose auto or torch.")
        return "torch"
    if name == "auto":
        return fastest(torch.device(device))
    reason = _why_not(name, torch.device(device))
    if reason is not None:
        raise BackendUnavailable(f"The selective scan '{name}' does not work on {device}: {reason}")
    return name


@cache
def fastest(device: torch.device) -> str:
    """The first implementation in order of speed that works on `device`; said once in the log."""
    reasons = []
    for name in _FASTEST_FIRST.get(device.type, ()):
        reason = _why_not(name, device)
        if reason is None:
            _logger.info("Selective scan on %s: %s.", device, name)
            for line in reasons:
                _logger.info("Selective scan on %s: not %s", device, line)
            return name
        reasons.append(f"{name}: {reason}")
    return "torch"


@cache
def _why_not(name: str, device: torch.device) -> str | None:
    """What keeps an implementation from giving right results on `device`: found out by trying."""
    backend = named(name)
    if name == "torch":
        return None
    try:
        return backend.why_not(device) or _disagreement(backend, device)
    except Exception as error:  # compilers, drivers and extensions fail in ways that cannot be listed
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def _disagreement(backend: Backend, device: torch.device) -> str | None:
    """Compare `backend` with plain torch on a tiny map; what differs, if anything."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    batch, height, width, groups, channels, states = 1, 5, 7, len(CROSS), 16, 16
    length = height * width
    for ways, num_inputs in ((Ways(width, CROSS), 1), (Ways(length, (Path.ROWS,) * groups), groups)):
        scan = Scan(
            u=random(batch, length, num_inputs, channels),
            delta=random(batch, length, groups, channels),
            A=-torch.exp(random(groups, channels, states)),
            B=random(batch, length, groups, states),
            C=random(batch, length, groups, states),
            D=random(groups, channels),
            bias=random(groups, channels),
        )
        gy = torch.randn(scan.u.shape, generator=generator).to(device)
        got, expected = (_results(x, gy, scan, ways) for x in (backend, _segmented))
        for field, value, right in zip(("output", *Scan._fields), got, expected, strict=True):
            error = ((value - right).abs().max() / right.abs().max()).item()
            if not error <= _TOLERANCE:
                return f"on a small map its {field} is off by a share of {error:.1e}"
    return None


@torch.no_grad()
def _results(backend: Backend, gy: Tensor, scan: Scan, ways: Ways) -> tuple[Tensor, ...]:
    y, states = backend.forward(scan, ways, save_states=True)
    return y, *backend.backward(gy, scan, ways, states)
