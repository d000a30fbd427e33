"""The selective scan in about log2(L) steps of plain torch operations: for tracing and export only.

A trace holds for maps of the size that it was made with, like the rest of an exported detector.

Doubling after Hillis and Steele, "Data parallel algorithms", https://doi.org/10.1145/7902.7903. It needs
(B, L, K, D, N) numbers several times over, where the segmented scan needs only a slice of them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.nn.selective_scan._problem import Scan, Ways, along_paths, from_paths


def log_step_scan(scan: Scan, ways: Ways) -> Tensor:
    """`Backend.forward` without states: (B, L, Q, D); every tensor has the type of `u`."""
    u, delta, B, C = (along_paths(x, ways) for x in (scan.u, scan.delta, scan.B, scan.C))
    dt = F.softplus(delta + scan.bias)  # (B, L, K, D)
    decay = torch.exp(dt.unsqueeze(-1) * scan.A)  # (B, L, K, D, N)
    state = _doubled(decay, (dt * u).unsqueeze(-1) * B.unsqueeze(3))
    y = (state * C.unsqueeze(3)).sum(-1) + scan.D * u
    y = from_paths(y, ways)
    return y.sum(2, keepdim=True) if scan.is_shared else y


def _doubled(decay: Tensor, state: Tensor) -> Tensor:
    """Solve h[t] = decay[t] * h[t-1] + state[t] along axis 1."""
    reach = 1
    while reach < state.shape[1]:
        # Each entry sums up `reach` tokens so far; joining it with the one `reach` earlier doubles that.
        joined = state[:, reach:] + decay[:, reach:] * state[:, :-reach]
        state = torch.cat((state[:, :reach], joined), dim=1)
        decay = torch.cat((decay[:, :reach], decay[:, reach:] * decay[:, :-reach]), dim=1)
        reach *= 2
    return state
