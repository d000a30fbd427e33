"""Selective scans to compare: our implementations and those of others.

Shapes as in `trainer.nn.selective_scan`: B batch, K groups, D channels of a group, N states, L tokens.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.nn.selective_scan import NAMES, BackendUnavailableError, described, selective_scan

PSCAN = "mambapy pscan"
PUBLISHED_LOOP = "published loop"

SelectiveScan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Scan from u, delta (B, K*D, L); A (K*D, N); B, C (B, K, N, L); D, delta_bias (K*D,) to (B, K*D, L)."""


def ours(device: torch.device) -> tuple[dict[str, SelectiveScan], dict[str, str]]:
    """Return our implementations by name, and the reason for each one that does not work on `device`."""
    scans: dict[str, SelectiveScan] = {}
    reasons = {}
    for name in NAMES:
        row, sequence = torch.zeros(1, 1, 1, device=device), torch.zeros(1, 1, 1, 1, device=device)
        try:
            selective_scan(row, row, row[0], sequence, sequence, backend=name)
        except BackendUnavailableError as error:
            reasons[name] = str(error)
        else:
            scans[name] = partial(selective_scan, backend=name)
    return scans, reasons


def default(device: torch.device) -> str:
    """Return the name of our implementation that runs by default."""
    return described(str(device)).partition(" ")[0]


def others() -> tuple[dict[str, SelectiveScan], dict[str, str]]:
    """Return the scans of others by name, and how to install each missing one."""
    loop: dict[str, SelectiveScan] = {PUBLISHED_LOOP: published_loop}
    try:
        import mambapy.pscan  # noqa: F401
    except ImportError:
        return loop, {PSCAN: "mambapy is not installed: pip install mambapy==1.2.0"}
    return {PSCAN: pscan, **loop}, {}


def pscan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Run mambapy's parallel scan with the inputs of its Mamba block, but with all groups in one call.

    Copying the inputs into its working order, (B, L, channels, N), first more than halves its time.
    https://github.com/alxndrTL/mamba.py
    """
    from mambapy.pscan import pscan as parallel_scan

    groups = B.shape[1]
    u, delta = (x.view(x.shape[0], groups, -1, x.shape[2]).permute(0, 3, 1, 2).contiguous() for x in (u, delta))
    B, C = (x.permute(0, 3, 1, 2).contiguous() for x in (B, C))  # (B, L, K, N)
    A, D, delta_bias = A.view(groups, -1, A.shape[1]), D.view(groups, -1), delta_bias.view(groups, -1)
    dt = F.softplus(delta + delta_bias)  # (B, L, K, D)
    decay = torch.exp(dt.unsqueeze(-1) * A)  # (B, L, K, D, N)
    drive = (dt * u).unsqueeze(-1) * B.unsqueeze(3)
    h = parallel_scan(decay.flatten(2, 3), drive.flatten(2, 3)).view(drive.shape)
    y = torch.matmul(h, C.unsqueeze(-1)).squeeze(-1) + D * u
    return y.permute(0, 2, 3, 1).flatten(1, 2)


def published_loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """Loop over tokens like the reference in Mamba's repository, which lays out all tokens, then indexes them.

    Autograd turns each `x[:, :, t]` into a gradient as large as x, so the time of its backward is proportional to L
    squared. https://github.com/state-spaces/mamba, `selective_scan_ref`.
    """
    channels = u.shape[1] // B.shape[1]
    B, C = (x.repeat_interleave(channels, dim=1) for x in (B, C))  # (B, K*D, N, L)
    dt = F.softplus(delta + delta_bias[:, None])
    decay = torch.exp(torch.einsum("brl,rn->brln", dt, A))
    drive = torch.einsum("brl,brnl,brl->brln", dt, B, u)
    h = u.new_zeros(decay[:, :, 0].shape)
    outputs = []
    for t in range(u.shape[2]):
        h = decay[:, :, t] * h + drive[:, :, t]
        outputs.append(torch.einsum("brn,brn->br", h, C[:, :, :, t]))
    return torch.stack(outputs, dim=2) + D[:, None] * u
