"""Choice of the scan implementation for a device: the best one that works there."""

import logging
import os
from functools import cache

import torch
from torch import Tensor

from trainer.exceptions import BackendUnavailableError, DeviceError
from trainer.nn.precision import no_autocast
from trainer.nn.selective_scan import _mamba_ssm, _native, _segmented, _triton
from trainer.nn.selective_scan._problem import CROSS, Backend, Path, Scan, Ways

ENVIRONMENT_VARIABLE = "MAMBA_YOLO_SCAN"
"""Environment variable that sets the implementation for calls without `backend`: `auto` or one of `NAMES`."""

_BACKENDS: dict[str, Backend] = {"mamba_ssm": _mamba_ssm, "native": _native, "triton": _triton, "torch": _segmented}
_BEST_FIRST = {"cpu": ("native", "torch"), "cuda": ("triton", "mamba_ssm")}
"""Implementations to choose from. On a GPU, Triton's is first: the same input gives the same bits, also backwards, maps
are not copied, and half types stay half. Plain torch is not among them, because it would take many times the GPU-hours
of a run without a word."""

NAMES = tuple(_BACKENDS)

_TOLERANCE = 1e-4

_logger = logging.getLogger(__name__)


def named(name: str) -> Backend:
    """Return the implementation with this name, one of `NAMES`."""
    return _BACKENDS[name]


def chosen(name: str, device: str, is_float64: bool) -> str:
    """Return the name of the implementation to run on `device` for the requested `name`, which may be `auto`.

    Raises:
        BackendUnavailableError: No implementation has this name, or it does not work on this device.
        DeviceError: None for a GPU works on this one.
    """
    asked_by = "backend"
    if name == "auto" and os.environ.get(ENVIRONMENT_VARIABLE):
        name, asked_by = os.environ[ENVIRONMENT_VARIABLE], ENVIRONMENT_VARIABLE
    if name not in ("auto", *NAMES):
        raise BackendUnavailableError(
            f"The selective scan '{name}' ({asked_by}) does not exist; choose auto, {', '.join(NAMES)}."
        )
    if is_float64 or device == "meta":
        return "torch"
    if name == "auto":
        return _best(torch.device(device))
    reason = _why_not(name, torch.device(device))
    if reason is not None:
        raise BackendUnavailableError(
            f"The selective scan '{name}' ({asked_by}) does not work on {device}: {reason}; or choose auto"
        )
    return name


def scan_on(device: str) -> str:
    """Return the name of the default implementation on `device`; errors are those of `chosen`."""
    return chosen("auto", device, is_float64=False)


def described(device: str) -> str:
    """Describe the default implementation on `device`, and why no better one runs, in one line for a report.

    Raises:
        BackendUnavailableError: MAMBA_YOLO_SCAN names an implementation that does not work there.
        DeviceError: None for a GPU works on this one.
    """
    name = chosen("auto", device, False)
    better = _better_than(name, torch.device(device))
    return f"{name} ({'; '.join(better)})" if better else name


# Tells torch.compile to call the function instead of tracing it. torch.compiler.assume_constant_result does the same
# but also imports torch._dynamo. That import takes a second, which callers who never compile should not pay.
chosen._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _best(device: torch.device) -> str:
    """Return the first implementation that works on `device`, and log the choice once."""
    order = _BEST_FIRST.get(device.type, ("torch",))
    name = next((name for name in order if _why_not(name, device) is None), None)
    if name is None:
        reasons = "; ".join(f"{other}: {_why_not(other, device)}" for other in order)
        raise DeviceError(
            f"No selective scan for GPUs works on {device} ({reasons}); remove one of the causes, or set "
            f"{ENVIRONMENT_VARIABLE}=torch, which is many times slower"
        )
    _logger.info("Selective scan on %s: %s.", device, name)
    for line in _better_than(name, device):
        _logger.info("Selective scan on %s: not %s", device, line)
    return name


def _better_than(name: str, device: torch.device) -> list[str]:
    """Return each implementation that comes before `name`, with the reason why it cannot run."""
    order = _BEST_FIRST.get(device.type, ())
    better = order[: order.index(name)] if name in order else ()
    return [f"{other}: {reason}" for other in better if (reason := _why_not(other, device))]


@cache
def _why_not(name: str, device: torch.device) -> str | None:
    """Return why an implementation does not give correct results on `device`, or None if a trial run succeeds.

    A lack of memory passes, so it raises instead of being remembered.
    """
    backend = named(name)
    if name == "torch":
        return None
    try:
        return backend.why_not(device) or _disagreement(backend, device)
    except Exception as error:  # compilers, drivers and extensions fail in more ways than we can list
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            raise
        lines = str(error).strip().splitlines() or ["no message"]
        return f"{type(error).__name__}: {lines[0]}"


def _disagreement(backend: Backend, device: torch.device) -> str | None:
    """Compare `backend` with plain torch on a tiny map and describe the difference, or return None."""
    generator = torch.Generator("cpu").manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device="cpu").to(device)

    batch, height, width, groups, states = 1, 5, 7, len(CROSS), 16
    length = height * width
    sequence = Ways(length, (Path.ROWS,) * groups)
    # Few and many channels: Triton's default configurations differ.
    for ways, num_inputs, channels in (
        (Ways(width, CROSS), 1, 16),
        (Ways(width, CROSS), 1, 64),
        (sequence, groups, 16),
    ):
        scan = Scan(
            u=random(batch, length, num_inputs, channels),
            delta=random(batch, length, groups, channels),
            A=-torch.exp(random(groups, channels, states)),
            B=random(batch, length, groups, states),
            C=random(batch, length, groups, states),
            D=random(groups, channels),
            bias=random(groups, channels),
        )
        gy = random(*scan.u.shape)
        got, expected = (_results(x, gy, scan, ways) for x in (backend, _segmented))
        for field, value, right in zip(("output", *Scan._fields), got, expected, strict=True):
            error = ((value - right).abs().max() / right.abs().max()).item()
            if not error <= _TOLERANCE:
                return f"on a small map its {field} has a relative error of {error:.1e}"
    return None


@torch.no_grad()
def _results(backend: Backend, gy: Tensor, scan: Scan, ways: Ways) -> tuple[Tensor, ...]:
    with no_autocast(gy):
        y, states = backend.forward(scan, ways, save_states=True)
        return y, *backend.backward(gy, scan, ways, states)
