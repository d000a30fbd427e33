"""Selective scan as a registered torch operator: fake tensors, gradients, one graph node.

`torch.compile`, export and DistributedDataParallel therefore treat it like a built-in operator.
https://docs.pytorch.org/docs/stable/library.html. We call the functions behind torch.library.custom_op instead of using
that decorator: it spends a second importing torch's compiler when an operator is first called.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.nn.precision import accurate_dtype, no_autocast
from trainer.nn.selective_scan import _backends
from trainer.nn.selective_scan._problem import Scan, Ways, time_steps, time_steps_backward


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    bias: Tensor,
    dt_weight: Tensor | None,
    width: int,
    paths: Sequence[int],
    save_states: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Run `Backend.forward` of `backend`; the output has u's strides.

    With `dt_weight` (K, D, R), `delta` is the low-rank form (B, L, K, R) of the time steps.
    """
    with no_autocast(u):
        scan = Scan(u, _expanded(delta, dt_weight), A, B, C, D, bias)
        y, states = _backends.named(backend).forward(scan, Ways(width, tuple(paths)), save_states=save_states)
    return _laid_out_as(u, y, accurate_dtype(u)), states


def _fake_scan(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Return the outputs of `_scan` as tensors without data."""
    u, delta, *others, dt_weight, _, _, save_states, backend = arguments
    scan = Scan(u, _expanded(delta, dt_weight), *others)
    dtype = accurate_dtype(scan.u)
    shape = _backends.named(backend).states_shape(scan) if save_states else (0,)
    return torch.empty_like(scan.u, dtype=dtype), scan.u.new_empty(shape, dtype=dtype)


def _scan_backward(
    gy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    bias: Tensor,
    dt_weight: Tensor | None,
    states: Tensor,
    width: int,
    paths: Sequence[int],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run `Backend.backward` of `backend`; each gradient has the strides and the type of its input.

    The last one is that of `dt_weight`, empty if there is none. The time steps are computed again from their low-rank
    form, because keeping them would take more memory than all other inputs of the scan.
    """
    inputs = Scan(u, delta, A, B, C, D, bias)
    with no_autocast(u):
        scan = inputs._replace(delta=_expanded(delta, dt_weight))
        gradients = _backends.named(backend).backward(gy, scan, Ways(width, tuple(paths)), states)
        gdt_weight = u.new_empty(0)
        if dt_weight is not None:
            gdelta, product = time_steps_backward(gradients.delta.to(delta.dtype), delta, dt_weight)
            gradients = gradients._replace(delta=gdelta)
            gdt_weight = _laid_out_as(dt_weight, product, dt_weight.dtype)
    return (
        *Scan(*(_laid_out_as(x, gradient, x.dtype) for x, gradient in zip(inputs, gradients, strict=True))),
        gdt_weight,
    )


def _fake_scan_backward(*arguments: Any) -> tuple[Tensor, ...]:
    """Return the outputs of `_scan_backward` as tensors without data."""
    _, *tensors, dt_weight, _, _, _, _ = arguments
    gdt_weight = tensors[0].new_empty(0) if dt_weight is None else torch.empty_like(dt_weight)
    return *map(torch.empty_like, tensors), gdt_weight


def _expanded(delta: Tensor, dt_weight: Tensor | None) -> Tensor:
    return delta if dt_weight is None else time_steps(delta, dt_weight)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.width, ctx.paths, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)  # the states never get a gradient; do not allocate zeros of their size


def _backward(ctx: Any, gy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if gy is None:
        return (None,) * len(ctx.needs_input_grad)
    *tensors, dt_weight, states = ctx.saved_tensors
    *gradients, gdt_weight = scan_backward_operator(gy, *tensors, dt_weight, states, ctx.width, ctx.paths, ctx.backend)
    return *gradients, None if dt_weight is None else gdt_weight, None, None, None, None


def _laid_out_as(x: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    """Copy `value` to the strides of a fresh tensor like `x`, as the fake functions promise."""
    is_like_x = value.stride() == x.stride() or value.stride() == torch.empty_like(x, device="meta").stride()
    return value if is_like_x and value.dtype == dtype else torch.empty_like(x, dtype=dtype).copy_(value)


def _registered(name: str, implementation: Callable[..., object], fake: Callable[..., object]) -> Any:
    """Register mamba_yolo::`name`, computed by `implementation` on every device, with shapes from `fake`."""
    qualified = f"mamba_yolo::{name}"
    torch.library.define(qualified, torch.library.infer_schema(implementation, mutates_args=()))
    torch.library.impl(qualified, "CompositeExplicitAutograd", implementation)
    torch.library.register_fake(qualified, fake)
    return getattr(torch.ops.mamba_yolo, name).default


scan_operator = _registered("selective_scan", _scan, _fake_scan)
scan_backward_operator = _registered("selective_scan_backward", _scan_backward, _fake_scan_backward)
torch.library.register_autograd("mamba_yolo::selective_scan", _backward, setup_context=_keep_for_backward)
