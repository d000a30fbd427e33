"""SS2D: a selective scan over the pixels of a map, along four paths.

Shapes: B batch, C channels of the map, E = 2C channels inside, H and W height and width, L = H*W tokens,
K = 4 directions, N = 16 states per channel, R = ceil(C/16) rank of the time step.

SS2D is from "VMamba: Visual State Space Model", https://arxiv.org/abs/2401.10166, "2D-Selective-Scan";
Mamba-YOLO uses it with GELU throughout.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nn.precision import accurate_dtype, no_autocast
from trainer.nn.selective_scan import selective_scan

NUM_DIRECTIONS = 4
NUM_STATES = 16
_CHANNELS_PER_RANK = 16
_EXPANSION = 2

_SSM_PARAMETERS = frozenset({"A_logs", "Ds", "dt_projs_bias"})


def is_ssm_parameter(name: str) -> bool:
    """Whether the parameter called `name` in a model sets the dynamics of a scan: a decay, skip or step bias.

    These must get no weight decay, which would pull each of them to an arbitrary value, and must never be
    orthogonalised as if they were weight matrices (Muon), though some have two axes.
    """
    return name.rpartition(".")[2] in _SSM_PARAMETERS


def cross_scan(x: Tensor) -> Tensor:
    """Read a map (B, E, H, W) as four token sequences (B, 4, E, H*W).

    Direction 0 goes row by row, direction 1 column by column, 2 and 3 are these two backwards.
    """
    rows = x.flatten(2)  # (B, E, L)
    columns = x.transpose(2, 3).flatten(2)  # (B, E, L)
    forward = torch.stack((rows, columns), dim=1)  # (B, 2, E, L)
    return torch.cat((forward, forward.flip(-1)), dim=1)


def cross_merge(y: Tensor, height: int, width: int) -> Tensor:
    """Add four token sequences (B, 4, E, H*W), each laid back along its path, to one map (B, E, H, W).

    A plain sum: merging what `cross_scan` made of x gives 4x.
    """
    forward, backward = y.chunk(2, dim=1)  # (B, 2, E, L) each
    rows, columns = (forward + backward.flip(-1)).unbind(1)  # (B, E, L) each
    batch, channels, _ = rows.shape
    columns = columns.reshape(batch, channels, width, height).transpose(2, 3)
    return rows.reshape(batch, channels, height, width) + columns


class SS2D(nn.Module):
    """Mix the pixels of a map (B, C, H, W), of any height and width, by selective scans in four directions.

    From the projection of the scan's inputs to the norm after it everything runs in float32 (float64 for
    float64 maps), under autocast and in a half-precision model too; the output has the type of the rest.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        inner = _EXPANSION * num_channels
        rank = math.ceil(num_channels / _CHANNELS_PER_RANK)
        self._projected = [rank, NUM_STATES, NUM_STATES]

        self.in_proj = nn.Conv2d(num_channels, 2 * inner, kernel_size=1, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, kernel_size=3, padding=1, groups=inner)
        self.act = nn.GELU()
        self.x_proj_weight = nn.Parameter(torch.empty(NUM_DIRECTIONS, sum(self._projected), inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(NUM_DIRECTIONS, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(NUM_DIRECTIONS, inner))
        self.A_logs = nn.Parameter(torch.empty(NUM_DIRECTIONS * inner, NUM_STATES))
        self.Ds = nn.Parameter(torch.empty(NUM_DIRECTIONS * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Conv2d(inner, num_channels, kernel_size=1, bias=False)
        self.reset_ssm_parameters()

    def reset_ssm_parameters(self) -> None:
        """Draw the scan's parameters anew as Mamba-YOLO does: A = -1, D = 1, normal time steps.

        Not Mamba's own initialisation: no ladder of decay rates and no small time steps.
        """
        bound = self.x_proj_weight.shape[-1] ** -0.5
        nn.init.uniform_(self.x_proj_weight, -bound, bound)
        nn.init.normal_(self.dt_projs_weight)
        nn.init.normal_(self.dt_projs_bias)
        nn.init.zeros_(self.A_logs)
        nn.init.ones_(self.Ds)

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, dim=1)  # (B, E, H, W) each
        x = self.act(self.conv2d(x))
        y: Tensor = self.out_proj(self._scanned(x) * self.act(z))
        return y

    def _scanned(self, x: Tensor) -> Tensor:
        """The scan and its norm: (B, E, H, W) to the same shape and type, in between in float32."""
        height, width = x.shape[2:]
        dtype = accurate_dtype(x)
        with no_autocast(x):
            u = cross_scan(x.to(dtype))  # (B, K, E, L)
            step, B, C = torch.split(self.x_proj_weight.to(dtype) @ u, self._projected, dim=2)
            delta = self.dt_projs_weight.to(dtype) @ step  # (B, K, E, L)
            y = selective_scan(
                u.flatten(1, 2),
                delta.flatten(1, 2),
                -torch.exp(self.A_logs.to(dtype)),
                B,
                C,
                self.Ds.to(dtype),
                self.dt_projs_bias.to(dtype).flatten(),
            )
            merged = cross_merge(y.view(u.shape), height, width)
            return self._normed(merged).to(x.dtype)

    def _normed(self, y: Tensor) -> Tensor:
        norm = self.out_norm
        weight, bias = norm.weight.to(y.dtype), norm.bias.to(y.dtype)
        y = F.layer_norm(y.permute(0, 2, 3, 1), norm.normalized_shape, weight, bias, norm.eps)
        return y.permute(0, 3, 1, 2)
