"""Selective scan in plain torch for any device, segment by segment, with a hand-written backward.

The states of all tokens, (B, K, D, N, L), would be N times the size of the input, and memory traffic dominates the cost
of a scan. The sequence is therefore cut into segments whose states fit a processor cache. Forward keeps only the state
before each segment, and backward recomputes the states of a segment from there.

Only products of decays exp(dt * A) <= 1 are ever formed. There is no logarithm and no division by a cumulative decay,
which underflows within a few dozen tokens. No input can therefore make the arithmetic overflow.

Shape suffixes: S tokens of one segment, L all tokens, B batch, K groups, N states, D channels of a group. Time comes
first, so that each step of the recurrence works on one block of memory. Channels come last, so that no broadcast runs
along the innermost axis of a large tensor.
"""

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.nn.selective_scan._problem import Scan, Ways, along_paths, from_paths

TAKES_HALF = False

# Sizes in numbers, found by timing maps of 64 to 6,400 tokens with 1 and 2 threads. On a CPU the few buffers of a
# segment must stay in cache; elsewhere launches are expensive and memory is plentiful.
_SEGMENT_NUMEL_CPU, _SEGMENT_NUMEL_OTHER = 2**19, 2**24
_STATE_NUMEL_CPU, _STATE_NUMEL_OTHER = 2**15, 2**20
_MIN_SEGMENT_LENGTH = 16
_SMALL_STATE_NUMEL = 2**11


def why_not(device: torch.device) -> str | None:
    """Return None: this implementation runs on every device."""


def states_shape(scan: Scan) -> tuple[int, ...]:
    """Return the shape of the state before each segment: (segments, B, K, N, D)."""
    batch, length, groups, channels = scan.delta.shape
    return math.ceil(length / _segment_length(scan)), batch, groups, scan.A.shape[2], channels


def forward(scan: Scan, ways: Ways, *, save_states: bool) -> tuple[Tensor, Tensor]:
    """Implement `Backend.forward`; every tensor has the type of `u`."""
    A_KND = scan.A.transpose(1, 2).contiguous()
    length = _segment_length(scan)
    states = scan.u.new_empty(states_shape(scan) if save_states else 0)
    y = torch.empty_like(scan.u)
    for block in _batch_blocks(scan):
        u, delta, B, C = (_time_first(x[block], ways) for x in (scan.u, scan.delta, scan.B, scan.C))
        dt = F.softplus(delta + scan.bias)
        drive = dt * u
        state_BKND = dt.new_zeros(dt.shape[1], *A_KND.shape)
        y_LBKD = torch.empty_like(dt)
        for i, s in enumerate(_segments(dt.shape[0], length)):
            if save_states:
                states[i, block] = state_BKND
            _, h = _states(dt[s], drive[s], A_KND, B[s], state_BKND)
            y_LBKD[s] = _sum_over_states(C[s], h[1:])
            state_BKND = h[-1].clone()
        _put(y_LBKD.addcmul_(scan.D, u), y[block], ways)
    return y, states


def backward(gy: Tensor, scan: Scan, ways: Ways, states: Tensor) -> Scan:
    """Implement `Backend.backward`.

    The recurrence is y[t] = C[t] . h[t] with h[t] = exp(dt[t] A) h[t-1] + drive[t] B[t]. With r[t] = exp(dt[t] A) *
    (gradient of h[t]), the same recurrence runs from the end:

        r[t] = exp(dt[t] A) (r[t+1] + C[t] gy[t])

    All other gradients are products of r and h:

        gC[t]     = sum over D of h[t] gy[t]
        gB[t]     = sum over D of (r[t+1] + C[t] gy[t]) drive[t]
        gdrive[t] = sum over N of (r[t+1] + C[t] gy[t]) B[t]
        gdt[t]    = sum over N of r[t] h[t-1] A
        gA        = sum over L, B of r[t] h[t-1] dt[t]
    """
    A_KND = scan.A.transpose(1, 2).contiguous()
    length = _segment_length(scan)
    gu_all, gdelta_all, gB_all, gC_all = (torch.empty_like(x) for x in (scan.u, scan.delta, scan.B, scan.C))
    gA_KND, gD, gbias = torch.zeros_like(A_KND), torch.zeros_like(scan.D), torch.zeros_like(scan.bias)
    for block in _batch_blocks(scan):
        gy_b, u, delta, B, C = (_time_first(x[block], ways) for x in (gy, scan.u, scan.delta, scan.B, scan.C))
        x = delta.add_(scan.bias)
        dt = F.softplus(x)
        drive = dt * u
        gdt, gdrive, gB, gC = (torch.empty_like(x) for x in (dt, drive, B, C))
        r_next = torch.zeros_like(states[0, block])
        for i, s in reversed(list(enumerate(_segments(dt.shape[0], length)))):
            gdt[s], gdrive[s], gB[s], gC[s], gA_s, r_next = _segment_backward(
                gy_b[s], dt[s], drive[s], B[s], C[s], A_KND, states[i, block], r_next
            )
            gA_KND += gA_s
        gdelta = gdt.addcmul_(gdrive, u).mul_(torch.sigmoid(x))
        gu = gdrive.mul_(dt).addcmul_(scan.D, gy_b)
        gbias += gdelta.sum((0, 1))
        gD += u.mul_(gy_b).sum((0, 1))
        for x, out in ((gu, gu_all), (gdelta, gdelta_all), (gB, gB_all), (gC, gC_all)):
            _put(x, out[block], ways)
    return Scan(gu_all, gdelta_all, gA_KND.transpose(1, 2), gB_all, gC_all, gD, gbias)


def _segment_backward(
    gy: Tensor, dt: Tensor, drive: Tensor, B: Tensor, C: Tensor, A: Tensor, start: Tensor, r_next: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Compute a segment's gradients for dt, drive, B, C, A, and r at its first token for the segment before."""
    decay, h = _states(dt, drive, A, B, start)
    r = _adjoint_states(gy, decay, C, r_next)
    gC = _sum_over_channels(h[1:], gy)
    gB = _sum_over_channels(r[1:], drive) + C * (gy * drive).sum(-1, keepdim=True)
    gdrive = _sum_over_states(B, r[1:]) + gy * (B * C).sum(-1, keepdim=True)
    r_first = r[0].clone()
    rh = r[:-1].mul_(h[:-1])  # (S, B, K, N, D); r is not needed any more
    gdt = torch.mul(rh, A, out=decay).sum(3)
    gA = rh.mul_(dt.unsqueeze(3)).sum((0, 1))
    return gdt, gdrive, gB, gC, gA, r_first


def _states(dt: Tensor, drive: Tensor, A: Tensor, B: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the decays (S, B, K, N, D) of a segment and its states (S+1, B, K, N, D), starting with `start`."""
    decay = torch.mul(dt.unsqueeze(3), A).exp_()
    h = decay.new_empty(decay.shape[0] + 1, *start.shape)
    h[0] = start
    torch.mul(drive.unsqueeze(3), B.unsqueeze(4), out=h[1:])
    _accumulate_(decay, h[1:], start)
    return decay, h


def _adjoint_states(gy: Tensor, decay: Tensor, C: Tensor, r_next: Tensor) -> Tensor:
    """Compute r (S+1, B, K, N, D) of a segment; the last entry is `r_next`."""
    r = torch.empty(decay.shape[0] + 1, *r_next.shape, dtype=decay.dtype, device=decay.device)
    r[-1] = r_next
    torch.mul(gy.unsqueeze(3), C.unsqueeze(4), out=r[:-1]).mul_(decay)
    _accumulate_(decay, r[:-1], r_next, reverse=True)
    return r


def _accumulate_(decay: Tensor, x: Tensor, start: Tensor, *, reverse: bool = False) -> None:
    """Turn x (S, ...) in place into the solution of x[t] = decay[t] * x[t-1] + x[t], or x[t+1] in reverse.

    This is a loop over tokens. If one token is too little work for an operation, the segment is cut into lanes that run
    through the loop in parallel. Each lane then receives the state that the previous one passes on.
    """
    order = slice(None, None, -1 if reverse else 1)
    lanes = _num_lanes(decay)
    if lanes == 1:
        for decay_t, x_t in zip(decay.unbind(0)[order], x.unbind(0)[order], strict=True):
            start = x_t.addcmul_(decay_t, start)
        return

    lane_decay, lane_x = (y.view(lanes, -1, *start.shape) for y in (decay, x))
    reach = lane_decay.clone()  # becomes the decay since the start of the lane
    steps = list(zip(lane_decay.unbind(1), reach.unbind(1), lane_x.unbind(1), strict=True))[order]
    for (_, reach_before, x_before), (decay_t, reach_t, x_t) in itertools.pairwise(steps):
        x_t.addcmul_(decay_t, x_before)
        reach_t.mul_(reach_before)
    for reach_l, x_l in zip(reach.unbind(0)[order], lane_x.unbind(0)[order], strict=True):
        x_l.addcmul_(reach_l, start)
        start = x_l[0 if reverse else -1]


def _num_lanes(decay: Tensor) -> int:
    """Return the number of lanes to cut a segment into, always a divisor of its length."""
    length, numel = decay.shape[0], decay[0].numel()
    wanted = math.isqrt(length) if not decay.is_cpu else min(math.isqrt(length), _SMALL_STATE_NUMEL // numel)
    return next((lanes for lanes in range(wanted, 1, -1) if length % lanes == 0), 1)


def _batch_blocks(scan: Scan) -> Iterator[slice]:
    """Split the batch into parts whose states fit the cache."""
    size = _block_size(scan)
    return (slice(start, start + size) for start in range(0, scan.u.shape[0], size))


def _block_size(scan: Scan) -> int:
    budget = _STATE_NUMEL_CPU if scan.u.is_cpu else _STATE_NUMEL_OTHER
    return min(scan.u.shape[0], max(1, budget // scan.A.numel()))


def _segment_length(scan: Scan) -> int:
    budget = _SEGMENT_NUMEL_CPU if scan.u.is_cpu else _SEGMENT_NUMEL_OTHER
    return max(_MIN_SEGMENT_LENGTH, budget // (_block_size(scan) * scan.A.numel()))


def _segments(length: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _time_first(x: Tensor, ways: Ways) -> Tensor:
    """Copy x (B, L, Q, X) along the paths into new memory: (L, B, K, X)."""
    if _is_by_channel(x, ways):
        batch, length, groups, channels = x.shape
        by_channel = x.permute(0, 2, 3, 1).view(-1, length)
        return by_channel.t().clone(memory_format=torch.contiguous_format).view(length, batch, groups, channels)
    return along_paths(x, ways).transpose(0, 1).clone(memory_format=torch.contiguous_format)


def _put(y_LBKX: Tensor, out: Tensor, ways: Ways) -> None:
    """Write y from path order to pixel order (B, L, Q, X), and add groups that share one place."""
    if _is_by_channel(out, ways):
        out.permute(0, 2, 3, 1).view(-1, out.shape[1]).copy_(y_LBKX.view(out.shape[1], -1).t())
        return
    y = from_paths(y_LBKX.transpose(0, 1), ways)
    if out.shape[2] < y.shape[2]:
        torch.sum(y, 2, keepdim=True, out=out)
    else:
        out.copy_(y)


def _is_by_channel(x: Tensor, ways: Ways) -> bool:
    """Check whether x (B, L, K, X) is a plain sequence stored channel by channel.

    Such a sequence is a matrix to transpose, which torch does several times faster than permuting a tensor.
    """
    return ways.is_sequence and x.shape[2] == len(ways.paths) and x.permute(0, 2, 3, 1).is_contiguous()


def _sum_over_states(weight_SBKN: Tensor, x_SBKND: Tensor) -> Tensor:
    """Sum over N: (S, B, K, D)."""
    return torch.matmul(weight_SBKN.unsqueeze(3), x_SBKND).squeeze(3)


def _sum_over_channels(x_SBKND: Tensor, weight_SBKD: Tensor) -> Tensor:
    """Sum over D: (S, B, K, N)."""
    return torch.matmul(x_SBKND, weight_SBKD.unsqueeze(4)).squeeze(4)
