"""Downsampling layers: the stem at the input and the merge between stages."""

import torch
from torch import Tensor, nn


class SimpleStem(nn.Module):
    """Turn images (B, in_channels, H, W) into features (B, out_channels, H/4, W/4); H and W are multiples of 4.

    https://arxiv.org/abs/2406.05835, section "Simple Stem".
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        hidden, padding = out_channels // 2, kernel_size // 2
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, hidden, kernel_size, stride=2, padding=padding, bias=False),
            nn.BatchNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, out_channels, kernel_size, stride=2, padding=padding, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.SiLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        # From here on every map is channels last, as the norms and scans of the blocks require: see ss2d.py.
        y: Tensor = self.conv(x.contiguous(memory_format=torch.channels_last))
        return y


class VisionClueMerge(nn.Module):
    """Halve a map (B, in_channels, H, W), H and W even, without dropping a pixel.

    Each 2x2 patch becomes one pixel with four times the channels. A 1x1 convolution then mixes them.
    https://arxiv.org/abs/2406.05835, section "Vision Clue Merge".
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pw_linear = nn.Sequential(
            nn.Conv2d(4 * in_channels, out_channels, kernel_size=1),
            nn.BatchNorm2d(out_channels),
            nn.SiLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
        # Corners (row, column) in the order 00, 10, 01, 11; nn.PixelUnshuffle uses another channel order.
        patches = pixels.permute(0, 1, 3, 4, 2, 5).flatten(3)  # (B, H/2, W/2, 4C)
        y: Tensor = self.pw_linear(patches.permute(0, 3, 1, 2))
        return y
