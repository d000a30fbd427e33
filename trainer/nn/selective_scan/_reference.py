"""Direct transcription of the selective scan formula: reference for the tests, far too slow for training.

https://arxiv.org/abs/2312.00752, section 3.2 and algorithm 2, with the simplified input matrix dt * B that Mamba's own
code uses in place of the zero-order hold of equation 4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
) -> Tensor:
    """Compute `selective_scan` in float64, one token after the other; autograd gives the gradients."""
    u, delta, A, B, C = (x.double() for x in (u, delta, A, B, C))
    channels_per_group = u.shape[1] // B.shape[1]
    B, C = (x.repeat_interleave(channels_per_group, dim=1) for x in (B, C))  # (B, K*D, N, L)
    if delta_bias is not None:
        delta = delta + delta_bias.double()[:, None]
    delta = F.softplus(delta)

    h = u.new_zeros(u.shape[0], *A.shape)  # (B, K*D, N)
    outputs = []
    # unbind instead of x[..., t]: the gradient of each such slice would be a tensor as large as x.
    for u_t, delta_t, B_t, C_t in zip(*(x.unbind(-1) for x in (u, delta, B, C)), strict=True):
        h = torch.exp(delta_t[..., None] * A) * h + (delta_t * u_t)[..., None] * B_t
        outputs.append((C_t * h).sum(-1))
    y = torch.stack(outputs, dim=-1)
    return y if D is None else y + D.double()[:, None] * u
