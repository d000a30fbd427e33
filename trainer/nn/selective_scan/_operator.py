"""The selective scan as an operator that torch knows: shapes without data, gradients, one node in a graph.

So `torch.compile`, export and DistributedDataParallel treat it like one of torch's own.
https://docs.pytorch.org/docs/stable/library.html. The functions that torch.library.custom_op is made of are used
instead of that decorator, which imports torch's compiler, for a second, when an operator is first called.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.nn.precision import accurate_dtype, no_autocast
from trainer.nn.selective_scan import _backends
from trainer.nn.selective_scan._problem import Scan, Ways


def _scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    bias: Tensor,
    width: int,
    paths: Sequence[int],
    save_states: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """`Backend.forward` of the backend called `backend`, with u's strides for the output."""
    scan = Scan(u, delta, A, B, C, D, bias)
    with no_autocast(u):
        y, states = _backends.named(backend).forward(scan, Ways(width, tuple(paths)), save_states=save_states)
    return _laid_out_as(u, y, accurate_dtype(u)), states


def _fake_scan(*arguments: Any) -> tuple[Tensor, Tensor]:
    """What `_scan` returns, without numbers in it."""
    *tensors, _, _, save_states, backend = arguments
    scan = Scan(*tensors)
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
    states: Tensor,
    width: int,
    paths: Sequence[int],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`Backend.backward`, each gradient with the strides and the type of its input."""
    scan = Scan(u, delta, A, B, C, D, bias)
    with no_autocast(u):
        gradients = _backends.named(backend).backward(gy, scan, Ways(width, tuple(paths)), states)
    return Scan(*(_laid_out_as(x, gradient, x.dtype) for x, gradient in zip(scan, gradients, strict=True)))


def _fake_scan_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What `_scan_backward` returns, without numbers in it."""
    _, *tensors, _, _, _, _ = arguments
    return Scan(*map(torch.empty_like, tensors))


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.width, ctx.paths, _, ctx.backend = inputs
    ctx.save_for_backward(*tensors, output[1])
    ctx.set_materialize_grads(False)  # nobody has a gradient for the states; do not make zeros of their size


def _backward(ctx: Any, gy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if gy is None:
        return (None,) * len(ctx.needs_input_grad)
    *tensors, states = ctx.saved_tensors
    gradients = scan_backward_operator(gy, *tensors, states, ctx.width, ctx.paths, ctx.backend)
    return *gradients, None, None, None, None


def _laid_out_as(x: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    """`value` with the strides of a fresh tensor like `x`, which is what the fakes promise."""
    is_like_x = value.stride() == x.stride() or value.stride() == torch.empty_like(x, device="meta").stride()
    return value if is_like_x and value.dtype == dtype else torch.empty_like(x, dtype=dtype).copy_(value)


def _registered(name: str, implementation: Callable[..., object], fake: Callable[..., object]) -> Any:
    """The operator mamba_yolo::`name`, computed by `implementation` on every device; `fake` knows its shapes."""
    qualified = f"mamba_yolo::{name}"
    torch.library.define(qualified, torch.library.infer_schema(implementation, mutates_args=()))
    torch.library.impl(qualified, "CompositeExplicitAutograd", implementation)
    torch.library.register_fake(qualified, fake)
    return getattr(torch.ops.mamba_yolo, name).default


scan_operator = _registered("selective_scan", _scan, _fake_scan)
scan_backward_operator = _registered("selective_scan_backward", _scan_backward, _fake_scan_backward)
torch.library.register_autograd("mamba_yolo::selective_scan", _backward, setup_context=_keep_for_backward)
