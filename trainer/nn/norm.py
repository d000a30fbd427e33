"""Normalisation over the channels of a map."""

from torch import Tensor, nn


class LayerNorm2d(nn.Module):
    """Normalise each pixel of a map (B, C, H, W) over its channels, then scale and shift each channel."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        # A real nn.LayerNorm: optimizers recognise norms, which get no weight decay, by their class.
        self.norm = nn.LayerNorm(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x.permute(0, 2, 3, 1))  # (B, H, W, C); a view of a map in channels-last memory
        return y.permute(0, 3, 1, 2)
