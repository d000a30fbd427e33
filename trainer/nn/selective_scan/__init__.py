"""The selective scan of Mamba: one interface, and the implementations behind it.

Formula and notation: "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
https://arxiv.org/abs/2312.00752, section 3.2 and algorithm 2. Shapes: B batch, K groups, D channels per
group, N states per channel, L tokens.
"""

import torch
from torch import Tensor

from trainer.nn.precision import accurate_dtype, no_autocast
from trainer.nn.selective_scan._log_step import log_step_scan
from trainer.nn.selective_scan._reference import selective_scan_reference
from trainer.nn.selective_scan._segmented import segmented_scan

__all__ = ["selective_scan", "selective_scan_reference"]


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
) -> Tensor:
    """Run a linear recurrence with input-dependent coefficients over each channel of `u`.

    With dt = softplus(delta + delta_bias), for every channel, and h = 0 before the first token:

        h[t] = exp(dt[t] * A) * h[t-1] + dt[t] * u[t] * B[t]        (N states)
        y[t] = sum over N of C[t] * h[t], plus D * u[t]

    Shapes: `u`, `delta` (B, K*D, L); `A` (K*D, N); `B`, `C` (B, K, N, L), shared by the D channels of a
    group; `D`, `delta_bias` (K*D,). Row r of K*D belongs to group r // D. L is at least 1.

    Returns (B, K*D, L). Everything may be float16, bfloat16, float32 or float64; the
    result is float32, or float64 if `u` is, and is computed in that type with autocast off. Differentiable
    once, in every argument.

    Entries of `A` are meant to be negative, so that exp(dt * A) is at most 1. Then steps and rates of any
    size, such as delta = 1000 or A = -100, give finite outputs and gradients. A NaN in `u` or `delta` makes
    its channel NaN from that token on.

    Raises:
        ValueError: The shapes do not fit together.
    """
    _check_shapes(u, delta, A, B, C, D, delta_bias)
    dtype = accurate_dtype(u)
    D = None if D is None else D.to(dtype)
    delta_bias = None if delta_bias is None else delta_bias.to(dtype)
    # A loop over tokens and a function with its own backward cannot be exported; the log-step form can.
    scan = log_step_scan if _is_exporting() else segmented_scan
    with no_autocast(u):
        return scan(u.to(dtype), delta.to(dtype), A.to(dtype), B.to(dtype), C.to(dtype), D, delta_bias)


def _is_exporting() -> bool:
    is_tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return is_tracing or torch.onnx.is_in_onnx_export() or torch.compiler.is_exporting()


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
