"""The selective scan in operations that every runtime knows: for tracing and export only.

The sequence is cut into lanes of at most `_MAX_LANE_LENGTH` tokens, which go side by side through a loop over the
tokens of a lane. The loop is unrolled into the graph. Each lane starts from zero; what it hands on to the next
ones is then found in about log2(number of lanes) doubling steps, after Hillis and Steele, "Data parallel
algorithms", https://doi.org/10.1145/7902.7903, and its share of every output is added. The states of all
tokens, N times the size of the input, never exist at once.

Batch, height and width may differ from those of the trace, as long as the lanes are no more than the doubling
steps reach; a graph that meets more ends in an index error, not in a wrong result.

Decays are exponentials of summed time steps, never quotients, so nothing overflows. Axes: B batch, S lanes,
T tokens of a lane, K groups, N states, D channels.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.nn.selective_scan._problem import Scan, Ways, along_paths, from_paths

# Longer lanes: fewer doubling steps and less memory, but more nodes in the graph.
_MAX_LANE_LENGTH = 64

# Below exp(-87) lie subnormal numbers, which slow a processor's multiplications and onnxruntime's exponential
# 20-fold; a state that has decayed by exp(-60) is beyond the precision of any sum anyway.
_MIN_EXPONENT = -60.0

_T = TypeVar("_T")


def exportable_scan(scan: Scan, ways: Ways) -> Tensor:
    """`Backend.forward` without states: (B, L, Q, D); every tensor has the type of `u`."""
    with warnings.catch_warnings():
        # A tracer hands out sizes as tensors, and warns when one decides how the graph is built: that is meant.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        u, delta, B, C = (along_paths(x, ways) for x in (scan.u, scan.delta, scan.B, scan.C))
        dt = F.softplus(delta + scan.bias)
        y = _scanned(dt, dt * u, scan.A.transpose(1, 2), B, C) + scan.D * u
        y = from_paths(y, ways)
        return y.sum(2, keepdim=True) if scan.is_shared else y


def _scanned(dt: Tensor, drive: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """C[t] . h[t] with h[t] = exp(dt[t] A) h[t-1] + drive[t] B[t]: (B, L, K, D); A is (K, N, D)."""
    length = int(dt.shape[1])
    num_lanes = math.ceil(length / _MAX_LANE_LENGTH)
    lane_length = math.ceil(length / num_lanes)
    num_doublings = (num_lanes - 1).bit_length()
    # Adds zero; a graph that meets more lanes than it was made for fails here, where it picks an index.
    A = A + A.new_zeros(2**num_doublings).select(0, (dt.shape[1] - 1) // lane_length)

    dt_STK1D, drive_STK1D, B_STKN1, C_STK1N = (
        _lanes(x, lane_length) for x in (dt.unsqueeze(3), drive.unsqueeze(3), B.unsqueeze(4), C.unsqueeze(3))
    )
    y_STKD, state = _scanned_from_zero(dt_STK1D, drive_STK1D, A, B_STKN1, C_STK1N)
    if num_lanes > 1:
        elapsed = dt_STK1D.cumsum(2)  # since the lane's beginning
        carried = _carried(elapsed[:, :, -1:], state, A, num_doublings)[:, :-1]
        per_token = zip(_tokens(C_STK1N[:, 1:]), _tokens(elapsed[:, 1:]), strict=True)
        inherited = torch.cat([C_t @ (_decay(dt_t, A) * carried) for C_t, dt_t in per_token], dim=2)
        y_STKD = torch.cat((y_STKD[:, :1], y_STKD[:, 1:] + inherited.squeeze(4)), dim=1)
    return y_STKD.flatten(1, 2)[:, : dt.shape[1]]


def _scanned_from_zero(dt: Tensor, drive: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs of lanes that all start from zero, and the states (B, S, 1, K, N, D) that they end with."""
    per_token = zip(_tokens(dt), _tokens(drive), _tokens(B), strict=True)
    terms = _one_ahead((_decay(dt_t, A), drive_t * B_t) for dt_t, drive_t, B_t in per_token)
    C_first, *C_others = _tokens(C)
    _, state = next(terms)
    outputs = [C_first @ state]
    for C_t, (decay_t, input_t) in zip(C_others, terms, strict=True):
        state = decay_t * state + input_t
        outputs.append(C_t @ state)
    # onnxruntime runs the operation that was traced last first, after all that it needs: were the first token
    # not traced last, all states would be computed before the first of them is read.
    return torch.cat([y_t.squeeze(4) for y_t in reversed(outputs)][::-1], dim=2), state


def _carried(elapsed: Tensor, state: Tensor, A: Tensor, num_doublings: int) -> Tensor:
    """The states at the end of each lane when it starts with that of the one before, from those it has otherwise."""
    for reach in (2**i for i in range(num_doublings)):
        # Each entry sums up `reach` lanes so far; joining it with the one `reach` earlier doubles that.
        joined = state[:, reach:] + _decay(elapsed[:, reach:], A) * state[:, :-reach]
        state = torch.cat((state[:, :reach], joined), dim=1)
        elapsed = torch.cat((elapsed[:, :reach], elapsed[:, reach:] + elapsed[:, :-reach]), dim=1)
    return state


def _decay(dt: Tensor, A: Tensor) -> Tensor:
    return torch.exp((dt * A).clamp(min=_MIN_EXPONENT))


def _lanes(x: Tensor, lane_length: int) -> Tensor:
    """x (B, L, K, X, Y) cut into lanes: (B, S, T, K, X, Y).

    Copies of a token fill the last lane up; nobody reads what comes of them.
    """
    length = (x.shape[1] + lane_length - 1) // lane_length * lane_length
    filling = x[:, :1].expand(-1, lane_length - 1, -1, -1, -1)
    return torch.cat((x, filling), dim=1)[:, :length].view(x.shape[0], -1, lane_length, *x.shape[2:])


def _tokens(x: Tensor) -> tuple[Tensor, ...]:
    """A tensor (B, S, 1, ...) for each token of a lane."""
    return torch.split(x, 1, dim=2)


def _one_ahead(terms: Iterable[_T]) -> Iterator[_T]:
    """Yield each of `terms` after the next one has been made.

    For the reason given above: otherwise onnxruntime would make the decays of all tokens before it uses one.
    """
    iterator = iter(terms)
    current = next(iterator)
    for coming in iterator:
        yield current
        current = coming
    yield current
