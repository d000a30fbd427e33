"""The selective scan in operations that every runtime knows: for tracing and export only.

The sequence is cut into lanes of at most `_MAX_LANE_LENGTH` tokens, which go side by side through a loop over the
tokens of a lane. The loop is unrolled into the graph. Each lane starts from zero; what it hands on to the next
ones is then found in about log2(number of lanes) doubling steps, after Hillis and Steele, "Data parallel
algorithms", https://doi.org/10.1145/7902.7903, and its share of every output is added. The states of all
tokens, N times the size of the input, never exist at once.

Batch, height and width may differ from those of the trace, as long as the lanes are no more than the doubling
steps reach; a graph that meets more ends in an index error, not in a wrong result.

Decays are exponentials of summed time steps, never quotients, so nothing overflows. Axes: B batch, S lanes,
K groups, N states, D channels.
"""

import itertools
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
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
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
    dts, drives, Bs, Cs = (
        _by_token(x, lane_length) for x in (dt.unsqueeze(3), drive.unsqueeze(3), B.unsqueeze(4), C.unsqueeze(3))
    )
    A = A + _zero_below(2**num_doublings, (dt.shape[1] - 1) // lane_length).to(A)

    terms = _one_ahead((_decay(dt_t, A), drive_t * B_t) for dt_t, drive_t, B_t in zip(dts, drives, Bs, strict=True))
    _, state = next(terms)
    own = [Cs[0] @ state]
    for (decay_t, input_t), C_t in zip(terms, Cs[1:], strict=True):
        state = decay_t * state + input_t
        own.append(C_t @ state)

    inherited = None
    if num_lanes > 1:
        elapsed = list(itertools.accumulate(dts))  # since the lane's beginning
        start = _lane_starts(elapsed[-1], state, A, num_doublings)
        inherited = torch.cat([C_t @ (_decay(dt_t, A) * start) for C_t, dt_t in zip(Cs, elapsed, strict=True)], dim=2)
    # onnxruntime runs the operation that was traced last first, with all that it needs. So the tokens are
    # traced backwards here; the other way round it would keep all states before it reads the first.
    y = torch.cat([y_t.squeeze(4) for y_t in reversed(own)][::-1], dim=2)
    if inherited is not None:
        y = y + inherited.squeeze(4)
    return y.flatten(1, 2)[:, : dt.shape[1]]


def _lane_starts(elapsed: Tensor, state: Tensor, A: Tensor, num_doublings: int) -> Tensor:
    """The state before each lane, (B, S, 1, K, N, D), from how long it takes and what it ends with if it starts at 0."""
    for reach in (2**i for i in range(num_doublings)):
        # Each entry sums up `reach` lanes so far; joining it with the one `reach` earlier doubles that.
        joined = state[:, reach:] + _decay(elapsed[:, reach:], A) * state[:, :-reach]
        state = torch.cat((state[:, :reach], joined), dim=1)
        elapsed = torch.cat((elapsed[:, :reach], elapsed[:, reach:] + elapsed[:, :-reach]), dim=1)
    return F.pad(state[:, :-1], (0, 0) * 4 + (1, 0))


def _decay(dt: Tensor, A: Tensor) -> Tensor:
    return torch.exp((dt * A).clamp(min=_MIN_EXPONENT))


def _by_token(x: Tensor, lane_length: int) -> tuple[Tensor, ...]:
    """x (B, L, K, X, Y) cut into lanes, a tensor (B, S, 1, K, X, Y) for each token; the last lane ends with zeros."""
    # A fixed amount and a cut, because the ONNX exporter cannot fold an amount that it traced.
    length = -(-x.shape[1] // lane_length) * lane_length
    padded = F.pad(x, (0, 0) * 3 + (0, lane_length - 1))[:, :length]
    return padded.unflatten(1, (-1, lane_length)).split(1, dim=2)


def _one_ahead(terms: Iterable[_T]) -> Iterator[_T]:
    """Yield each of `terms` after the next one has been made.

    For the reason given above: otherwise onnxruntime would make the decays of all tokens before it uses one.
    """
    return (term for term, _ in itertools.pairwise(itertools.chain(terms, (None,))))


def _zero_below(limit: int, index: int) -> Tensor:
    """A zero; a graph run on larger maps than it was traced for meets an index out of range here."""
    return torch.zeros(limit).select(0, index)
