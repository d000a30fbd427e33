"""Blocks of Mamba-YOLO's backbone and neck; all keep height and width.

The published code has a local convolution block (LSBlock) in front of every selective scan; the AAAI 2025 paper leaves
it out. `local_spatial` selects one of the two layouts.
"""

from torch import Tensor, nn

from trainer.nn.norm import LayerNorm2d
from trainer.nn.ss2d import SS2D


class LSBlock(nn.Module):
    """Add a convolution of its 3x3 neighbourhood to each pixel of a map (B, C, H, W).

    https://arxiv.org/abs/2406.05835v1, "LSBlock".
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1, groups=num_channels)
        self.norm = nn.BatchNorm2d(num_channels)
        self.fc2 = nn.Conv2d(num_channels, num_channels, kernel_size=1)
        self.act = nn.GELU()
        self.fc3 = nn.Conv2d(num_channels, num_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc3(self.act(self.fc2(self.norm(self.fc1(x)))))
        return x + y


class RGBlock(nn.Module):
    """Mix the channels of a map (B, C, H, W) with a gated unit that also sees the 3x3 neighbourhood.

    The hidden width is int(2/3 * 4C), odd at some sizes; the parameter counts of the published models depend on it. The
    block has no residual connection: the block that contains it adds one. https://arxiv.org/abs/2406.05835, "RGBlock".
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        hidden = 2 * (4 * num_channels) // 3
        self.fc1 = nn.Conv2d(num_channels, 2 * hidden, kernel_size=1)
        self.dwconv = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden, num_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.fc1(x).chunk(2, dim=1)
        y: Tensor = self.fc2(self.act(self.dwconv(value) + value) * gate)
        return y


class VSSBlock(nn.Module):
    """Project a map to `out_channels`, then mix its pixels with a selective scan, then its channels.

    Maps (B, in_channels, H, W) to (B, out_channels, H, W). This is the paper's ODSSBlock, as used in the backbone.
    `local_spatial=False` is the AAAI 2025 layout.
    """

    def __init__(self, in_channels: int, out_channels: int, local_spatial: bool = True) -> None:
        super().__init__()
        self.proj_conv = _projection(in_channels, out_channels, bias=True)
        self.lsblock = LSBlock(out_channels) if local_spatial else nn.Identity()
        self.norm = LayerNorm2d(out_channels)
        self.op = SS2D(out_channels)
        self.norm2 = LayerNorm2d(out_channels)
        self.mlp = RGBlock(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj_conv(x)
        x = x + self.op(self.norm(self.lsblock(x)))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class XSSBlock(nn.Module):
    """VSSBlock of the neck: `num_scans` selective scans in sequence under one residual connection.

    Maps (B, in_channels, H, W) to (B, out_channels, H, W), and projects only if the two widths differ. There is no norm
    and no residual connection between the scans. `local_spatial=False` is the AAAI 2025 layout.
    """

    def __init__(self, in_channels: int, out_channels: int, num_scans: int = 1, local_spatial: bool = True) -> None:
        super().__init__()
        is_same = in_channels == out_channels
        self.in_proj = nn.Identity() if is_same else _projection(in_channels, out_channels, bias=False)
        self.lsblock = LSBlock(out_channels) if local_spatial else nn.Identity()
        self.norm = LayerNorm2d(out_channels)
        self.ss2d = nn.Sequential(*(SS2D(out_channels) for _ in range(num_scans)))
        self.norm2 = LayerNorm2d(out_channels)
        self.mlp = RGBlock(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x)
        x = x + self.ss2d(self.norm(self.lsblock(x)))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


def _projection(in_channels: int, out_channels: int, *, bias: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias),
        nn.BatchNorm2d(out_channels),
        nn.SiLU(),
    )
