"""SS2D: a selective scan over the pixels of a map, along four paths.

Shapes: B batch, C channels of the map, E = 2C inner channels, H and W height and width, K = 4 directions, N = 16 states
per channel, R = ceil(C/16) rank of the time step.

Maps are channels last in memory, so nothing is copied or transposed between the operations. The projections are matrix
products over the channels. The scan reads the channels of a pixel from adjacent memory and follows its paths through
the pixels without reordering them.

SS2D is from "VMamba: Visual State Space Model", https://arxiv.org/abs/2401.10166, "2D-Selective-Scan"; Mamba-YOLO uses
it with GELU throughout.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.nn.precision import accurate_dtype, no_autocast
from trainer.nn.selective_scan import cross_selective_scan

NUM_DIRECTIONS = 4
NUM_STATES = 16
_CHANNELS_PER_RANK = 16
_EXPANSION = 2

_SSM_PARAMETERS = frozenset({"A_logs", "Ds", "dt_projs_bias"})


def is_ssm_parameter(name: str) -> bool:
    """Check whether the model parameter `name` sets the dynamics of a scan: a decay, skip or step bias.

    These parameters must get no weight decay, which would pull each of them to an arbitrary value. They must also never
    be orthogonalised as if they were weight matrices (Muon), although some have two axes.
    """
    return name.rpartition(".")[2] in _SSM_PARAMETERS


class SS2D(nn.Module):
    """Mix the pixels of a map (B, C, H, W), of any height and width, with selective scans in four directions.

    Everything from the projection of the scan's inputs to the norm after it runs in float32 (float64 for float64 maps),
    even under autocast and in a half-precision model. The output has the type of the rest of the model.
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
        """Reinitialise the parameters of the scan as Mamba-YOLO does: A = -1, D = 1, normal time steps.

        This differs from Mamba's own initialisation: no ladder of decay rates and no small time steps.
        """
        bound = self.x_proj_weight.shape[-1] ** -0.5
        nn.init.uniform_(self.x_proj_weight, -bound, bound)
        nn.init.normal_(self.dt_projs_weight)
        nn.init.normal_(self.dt_projs_bias)
        nn.init.zeros_(self.A_logs)
        nn.init.ones_(self.Ds)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x, z = self.in_proj(x).chunk(2, dim=1)  # (B, E, H, W) each
        x = self.act(self.conv2d(x))
        y: Tensor = self.out_proj(self._scanned(x) * self.act(z))
        return y

    def _scanned(self, x: Tensor) -> Tensor:
        """Apply the scan and its norm in float32: (B, E, H, W) to the same shape and type."""
        dtype = accurate_dtype(x)
        with no_autocast(x):
            u = x.permute(0, 2, 3, 1).to(dtype).contiguous()  # (B, H, W, E)
            # The four directions project the same pixels, so one product serves them all.
            projected = F.linear(u, self.x_proj_weight.to(dtype).flatten(0, 1))  # (B, H, W, K*(R+2N))
            projected = projected.view(*u.shape[:3], NUM_DIRECTIONS, -1)
            steps, B, C = torch.split(projected, self._projected, dim=-1)
            y = cross_selective_scan(
                u,
                steps,
                -torch.exp(self.A_logs.to(dtype)).view(NUM_DIRECTIONS, -1, NUM_STATES),
                B,
                C,
                self.Ds.to(dtype).view(NUM_DIRECTIONS, -1),
                self.dt_projs_bias.to(dtype),
                self.dt_projs_weight.to(dtype),
            )
            norm = self.out_norm
            y = F.layer_norm(y, norm.normalized_shape, norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)
            return y.permute(0, 3, 1, 2).to(x.dtype)
