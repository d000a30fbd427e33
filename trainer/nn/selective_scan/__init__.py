"""Selective scan of Mamba: one formula and its implementations.

Formula and notation: "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
https://arxiv.org/abs/2312.00752, section 3.2 and algorithm 2. Shapes: B batch, K groups, D channels per group, N states
per channel, L tokens.

The implementation is chosen once per device: by `backend`, by the environment variable MAMBA_YOLO_SCAN, or by speed
(`auto`). docs/performance.md compares the implementations.
"""

import torch
from torch import Tensor

from trainer.exceptions import BackendUnavailableError
from trainer.nn.precision import accurate_dtype, no_autocast
from trainer.nn.selective_scan import _backends
from trainer.nn.selective_scan._backends import ENVIRONMENT_VARIABLE, NAMES, described, scan_on
from trainer.nn.selective_scan._exportable import exportable_scan
from trainer.nn.selective_scan._operator import scan_operator
from trainer.nn.selective_scan._problem import CROSS, Path, Scan, Ways, time_steps
from trainer.nn.selective_scan._reference import selective_scan_reference

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "NAMES",
    "BackendUnavailableError",
    "cross_selective_scan",
    "described",
    "scan_on",
    "selective_scan",
    "selective_scan_reference",
    "time_steps",
]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """Run a linear recurrence with input-dependent coefficients over each channel of `u`.

    With dt = softplus(delta + delta_bias), for every channel, and h = 0 before the first token:

        h[t] = exp(dt[t] * A) * h[t-1] + dt[t] * u[t] * B[t]        (N states)
        y[t] = sum over N of C[t] * h[t], plus D * u[t]

    Shapes: `u`, `delta` (B, K*D, L); `A` (K*D, N); `B`, `C` (B, K, N, L), shared by the D channels of a group; `D`,
    `delta_bias` (K*D,). Row r of K*D belongs to group r // D. L is at least 1. Any strides are allowed.

    Returns (B, K*D, L). Every argument may be float16, bfloat16, float32 or float64. The result is float32, or float64
    if `u` is float64. The scan runs in the type of the result with autocast off; the plain torch implementation always
    runs in float64. Differentiable once, in every argument.

    Entries of `A` should be negative, so that exp(dt * A) is at most 1. Outputs and gradients then stay finite for
    steps and rates of any size, for example delta = 1000 or A = -100. A NaN in `u` or `delta` makes its channel NaN
    from that token on.

    Raises:
        ValueError: The shapes do not fit together.
        BackendUnavailableError: `backend`, or the one that MAMBA_YOLO_SCAN names, does not exist or does not work here.
    """
    _check_shapes(u, delta, A, B, C, D, delta_bias)
    groups, (batch, rows, length) = B.shape[1], u.shape
    channels = rows // groups
    u, delta = (x.view(batch, groups, channels, length).permute(0, 3, 1, 2) for x in (u, delta))  # (B, L, K, D)
    B, C = (x.permute(0, 3, 1, 2) for x in (B, C))  # (B, L, K, N)
    D, delta_bias = (A.new_zeros(rows) if x is None else x for x in (D, delta_bias))
    A, D, delta_bias = (x.view(groups, channels, *x.shape[1:]) for x in (A, D, delta_bias))
    scan = Scan(u, delta, A, B, C, D, delta_bias)
    y = _computed(scan, Ways(length, (Path.ROWS,) * groups), backend)  # (B, L, K, D)
    return y.permute(0, 2, 3, 1).flatten(1, 2)


def cross_selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    dt_weight: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """Scan the pixels of maps along four paths and add the results: rows, columns, and both backwards.

    Each of the K = 4 paths is a group of `selective_scan` with its own coefficients. All paths read the same `u`.
    https://arxiv.org/abs/2401.10166, "2D-Selective-Scan".

    Shapes: `u` (B, H, W, D); `delta` (B, H, W, 4, D); `A` (4, D, N); `B`, `C` (B, H, W, 4, N); `D`, `delta_bias` (4,
    D). All are stored pixel by pixel, whatever the path. Returns (B, H, W, D).

    With `dt_weight` (4, D, R), `delta` is the low-rank form (B, H, W, 4, R) of the time steps, and only this form is
    kept for backward.

    Types, NaN behaviour and errors are those of `selective_scan`.
    """
    width, shape = u.shape[2], u.shape
    u, delta, B, C = (x.flatten(1, 2) for x in (u.unsqueeze(3), delta, B, C))  # (B, L, 1 or K, D or N)
    y = _computed(Scan(u, delta, A, B, C, D, delta_bias), Ways(width, CROSS), backend, dt_weight)
    return y.view(shape)


def _computed(scan: Scan, ways: Ways, backend: str, dt_weight: Tensor | None = None) -> Tensor:
    dtype = accurate_dtype(scan.u)
    is_exporting = _is_exporting()
    needs_gradient = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (*scan, dt_weight))
    if dt_weight is not None:
        dt_weight, scan = dt_weight.to(dtype), scan._replace(delta=scan.delta.to(dtype))
        if is_exporting or not needs_gradient:  # nothing is kept, so the product can be an ordinary operation
            with no_autocast(scan.u):
                scan, dt_weight = scan._replace(delta=time_steps(scan.delta, dt_weight)), None
    if is_exporting:
        # Other runtimes do not know our operator. The exportable form uses only operations that they have.
        return exportable_scan(Scan(*(x.to(dtype) for x in scan)), ways)
    name = _backends.chosen(backend, str(scan.u.device), dtype == torch.float64)
    if _backends.named(name).TAKES_HALF:
        scan = scan._replace(A=scan.A.to(dtype), D=scan.D.to(dtype), bias=scan.bias.to(dtype))
    else:
        scan = Scan(*(x.to(dtype) for x in scan))
    y: Tensor = scan_operator(*scan, dt_weight, ways.width, ways.paths, needs_gradient, name)[0]
    return y


def _is_exporting() -> bool:
    is_tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    # Not `is_exporting()`: torch 2.10 replaces the call by True in everything that it compiles.
    is_exporting: bool = torch.compiler._is_exporting_flag
    return is_tracing or torch.onnx.is_in_onnx_export() or is_exporting


def _check_shapes(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None
) -> None:
    if u.ndim != 3 or A.ndim != 2 or B.ndim != 4:
        raise ValueError(
            "u must be (B, K*D, L), A (K*D, N) and B (B, K, N, L), but got shapes "
            f"{tuple(u.shape)}, {tuple(A.shape)} and {tuple(B.shape)}."
        )
    batch, num_rows, length = u.shape
    num_groups, num_states = B.shape[1], A.shape[1]
    if length == 0 or num_rows % num_groups:
        raise ValueError(f"u needs at least one token and rows in {num_groups} equal groups, but got {tuple(u.shape)}.")
    expected = {
        "delta": (delta, (batch, num_rows, length)),
        "A": (A, (num_rows, num_states)),
        "B": (B, (batch, num_groups, num_states, length)),
        "C": (C, (batch, num_groups, num_states, length)),
        "D": (D, (num_rows,)),
        "delta_bias": (delta_bias, (num_rows,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape} to fit u and B, but has {tuple(tensor.shape)}.")
