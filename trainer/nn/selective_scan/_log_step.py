"""The selective scan in about log2(L) steps of plain torch operations: for tracing and export only.

A trace holds for maps of the size that it was made with, like the rest of an exported detector.

Doubling after Hillis and Steele, "Data parallel algorithms", https://doi.org/10.1145/7902.7903. It needs
(B, K*D, N, L) numbers several times over, where the segmented scan needs only a slice of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_step_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None
) -> Tensor:
    """Compute `selective_scan`; every tensor has the type of `u`."""
    (batch, num_groups, num_states, length), num_rows = B.shape, u.shape[1]
    grouped = (batch, num_groups, num_rows // num_groups)  # (B, K, D)
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    dt = F.softplus(delta)  # (B, K*D, L)
    drive = (dt * u).view(*grouped, length)  # (B, K, D, L)
    decay = torch.exp(dt[:, :, None] * A[..., None])  # (B, K*D, N, L)
    state = (drive[:, :, :, None] * B[:, :, None]).flatten(1, 2)  # (B, K*D, N, L)
    state = _doubled(decay, state).view(*grouped, num_states, length)  # (B, K, D, N, L)
    y = (state * C[:, :, None]).sum(3).flatten(1, 2)  # (B, K*D, L)
    return y if D is None else y + D[:, None] * u


def _doubled(decay: Tensor, state: Tensor) -> Tensor:
    """Solve h[t] = decay[t] * h[t-1] + state[t] along the last axis."""
    reach = 1
    while reach < state.shape[-1]:
        # Each entry sums up `reach` tokens so far; joining it with the one `reach` earlier doubles that.
        joined = state[..., reach:] + decay[..., reach:] * state[..., :-reach]
        state = torch.cat((state[..., :reach], joined), dim=-1)
        decay = torch.cat((decay[..., :reach], decay[..., reach:] * decay[..., :-reach]), dim=-1)
        reach *= 2
    return state
