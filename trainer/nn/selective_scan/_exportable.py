"""Selective scan made of operations that every runtime knows: for tracing and export only.

The sequence is cut into lanes of at most `_MAX_LANE_LENGTH` tokens. All lanes run in parallel through a loop over the
tokens of a lane, which is unrolled into the graph. Each lane starts from zero. The states that lanes pass on are then
computed in about log2(number of lanes) doubling steps, after Hillis and Steele, "Data parallel algorithms",
https://doi.org/10.1145/7902.7903, and their share of every output is added. The states of all tokens, N times the size
of the input, never exist at the same time.

Batch, height and width may differ from those of the trace, as long as the doubling steps cover all lanes. A graph that
meets more lanes fails with an index error instead of giving a wrong result.

Decays are exponentials of summed time steps, never quotients, so nothing overflows. Axes: B batch, S lanes, T tokens of
a lane, K groups, N states, D channels.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.nn.selective_scan._problem import Scan, Ways, along_paths, from_paths

# Longer lanes need fewer doubling steps and less memory, but more nodes in the graph.
_MAX_LANE_LENGTH = 64

# Numbers below exp(-87) are subnormal, which makes a processor's multiplications and onnxruntime's exponential 20 times
# slower. A state that has decayed by exp(-60) is below the precision of any sum anyway.
_MIN_EXPONENT = -60.0

_T = TypeVar("_T")


def exportable_scan(scan: Scan, ways: Ways) -> Tensor:
    """Compute `Backend.forward` without states: (B, L, Q, D); every tensor has the type of `u`."""
    with warnings.catch_warnings():
        # A tracer represents sizes as tensors and warns when one decides how the graph is built. We want that here.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        u, delta, B, C = (along_paths(x, ways) for x in (scan.u, scan.delta, scan.B, scan.C))
        dt = F.softplus(delta + scan.bias)
        y = _scanned(dt, dt * u, scan.A.transpose(1, 2), B, C) + scan.D * u
        y = from_paths(y, ways)
        return y.sum(2, keepdim=True) if scan.is_shared else y


def _scanned(dt: Tensor, drive: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Compute C[t] . h[t], h[t] = exp(dt[t] A) h[t-1] + drive[t] B[t]: (B, L, K, D); A is (K, N, D)."""
    length = int(dt.shape[1])
    num_lanes = math.ceil(length / _MAX_LANE_LENGTH)
    lane_length = math.ceil(length / num_lanes)
    num_doublings = (num_lanes - 1).bit_length()
    # Adds zero. A graph that meets more lanes than it was traced for fails here with an index error.
    A = A + A.new_zeros(2**num_doublings).select(0, (dt.shape[1] - 1) // lane_length)

    dt_STK1D, drive_STK1D, B_STKN1, C_STK1N = (
        _lanes(x, lane_length) for x in (dt.unsqueeze(3), drive.unsqueeze(3), B.unsqueeze(4), C.unsqueeze(3))
    )
    y_STKD, state = _scanned_from_zero(dt_STK1D, drive_STK1D, A, B_STKN1, C_STK1N)
    if num_lanes > 1:
        elapsed = dt_STK1D.cumsum(2)  # since the start of the lane
        carried = _carried(elapsed[:, :, -1:], state, A, num_doublings)[:, :-1]
        per_token = zip(_tokens(C_STK1N[:, 1:]), _tokens(elapsed[:, 1:]), strict=True)
        inherited = torch.cat([C_t @ (_decay(dt_t, A) * carried) for C_t, dt_t in per_token], dim=2)
        y_STKD = torch.cat((y_STKD[:, :1], y_STKD[:, 1:] + inherited.squeeze(4)), dim=1)
    return y_STKD.flatten(1, 2)[:, : dt.shape[1]]


def _scanned_from_zero(dt: Tensor, drive: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the outputs of lanes that all start from zero, and their final states (B, S, 1, K, N, D)."""
    per_token = zip(_tokens(dt), _tokens(drive), _tokens(B), strict=True)
    terms = _one_ahead((_decay(dt_t, A), drive_t * B_t) for dt_t, drive_t, B_t in per_token)
    C_first, *C_others = _tokens(C)
    _, state = next(terms)
    outputs = [C_first @ state]
    for C_t, (decay_t, input_t) in zip(C_others, terms, strict=True):
        state = decay_t * state + input_t
        outputs.append(C_t @ state)
    # onnxruntime runs the operation traced last first, after everything that it needs. If the first token were not
    # traced last, all states would be computed before the first of them is read.
    return torch.cat([y_t.squeeze(4) for y_t in reversed(outputs)][::-1], dim=2), state


def _carried(elapsed: Tensor, state: Tensor, A: Tensor, num_doublings: int) -> Tensor:
    """Turn the final states of lanes that start from zero into those of lanes that start from the previous lane."""
    for reach in (2**i for i in range(num_doublings)):
        # Each entry covers `reach` lanes so far. Joining it with the entry `reach` lanes earlier doubles that.
        joined = state[:, reach:] + _decay(elapsed[:, reach:], A) * state[:, :-reach]
        state = torch.cat((state[:, :reach], joined), dim=1)
        elapsed = torch.cat((elapsed[:, :reach], elapsed[:, reach:] + elapsed[:, :-reach]), dim=1)
    return state


def _decay(dt: Tensor, A: Tensor) -> Tensor:
    return torch.exp((dt * A).clamp(min=_MIN_EXPONENT))


def _lanes(x: Tensor, lane_length: int) -> Tensor:
    """Cut x (B, L, K, X, Y) into lanes: (B, S, T, K, X, Y).

    Copies of a token pad the last lane; their results are never read.
    """
    length = (x.shape[1] + lane_length - 1) // lane_length * lane_length
    filling = x[:, :1].expand(-1, lane_length - 1, -1, -1, -1)
    return torch.cat((x, filling), dim=1)[:, :length].view(x.shape[0], -1, lane_length, *x.shape[2:])


def _tokens(x: Tensor) -> tuple[Tensor, ...]:
    """Split lanes into one tensor (B, S, 1, ...) per token."""
    return torch.split(x, 1, dim=2)


def _one_ahead(terms: Iterable[_T]) -> Iterator[_T]:
    """Yield each of `terms` after the next one has been made.

    The reason is the order described above: otherwise onnxruntime would compute the decays of all tokens before it uses
    one.
    """
    iterator = iter(terms)
    current = next(iterator)
    for coming in iterator:
        yield current
        current = coming
    yield current
