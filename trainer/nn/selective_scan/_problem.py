"""What every implementation of the selective scan is given, and what it gives back.

Shapes: B batch, L = H*W pixels of a map (H = 1 for a plain sequence), K groups, D channels of a group, N states
of a channel. Q is K, or 1 where all groups read the same input.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Path(IntEnum):
    """The order in which a group visits the pixels of a map."""

    ROWS = 0
    COLUMNS = 1
    ROWS_BACKWARDS = 2
    COLUMNS_BACKWARDS = 3


CROSS = tuple(map(int, Path))
"""The four paths of "VMamba", https://arxiv.org/abs/2401.10166, "2D-Selective-Scan"."""


class Ways(NamedTuple):
    """How the groups walk over a map."""

    width: int
    """Pixels in a row, W; a plain sequence is one row."""
    paths: tuple[int, ...]
    """A `Path` for each of the K groups."""

    @property
    def is_sequence(self) -> bool:
        """Whether every group goes through the tokens as they lie in memory."""
        return all(path == Path.ROWS for path in self.paths)


class Scan(NamedTuple):
    """The tensors of one selective scan; also their gradients.

    They lie pixel by pixel: every tensor with an L axis holds token t of each path where that pixel is, not
    in the order of the path. Strides are free.
    """

    u: Tensor
    """(B, L, Q, D)"""
    delta: Tensor
    """(B, L, K, D), before bias and softplus"""
    A: Tensor
    """(K, D, N)"""
    B: Tensor
    """(B, L, K, N)"""
    C: Tensor
    """(B, L, K, N)"""
    D: Tensor
    """(K, D)"""
    bias: Tensor
    """(K, D)"""

    @property
    def is_shared(self) -> bool:
        """Whether several groups read one input; then their outputs are added."""
        return self.u.shape[2] < self.delta.shape[2]


class Backend(Protocol):
    """An implementation of the scan."""

    @property
    def TAKES_HALF(self) -> bool:  # noqa: N802 - modules implement this, with a constant
        """Whether u, delta, B and C may be float16 or bfloat16; otherwise they come as A, D and bias do."""

    def why_not(self, device: torch.device) -> str | None:
        """What keeps this implementation from running on `device`, if anything: one line with the remedy."""

    def states_shape(self, scan: Scan) -> Sequence[int]:
        """The shape of what forward keeps for backward, in float32 or, for float64 inputs, float64."""

    def forward(self, scan: Scan, ways: Ways, *, save_states: bool) -> tuple[Tensor, Tensor]:
        """The output (B, L, Q, D), in float32 or float64, and the states kept (empty unless asked for).

        The outputs of groups that share an input are added.
        """

    def backward(self, gy: Tensor, scan: Scan, ways: Ways, states: Tensor) -> Scan:
        """The gradients of all seven tensors, in any floating-point type; `gy` is that of the output."""


def along_paths(x: Tensor, ways: Ways) -> Tensor:
    """Take x (B, L, Q, ...) from the order of pixels to that of the paths: (B, L, K, ...)."""
    if ways.is_sequence and x.shape[2] == len(ways.paths):
        return x
    return _for_each_group(x, ways, _walked)


def from_paths(x: Tensor, ways: Ways) -> Tensor:
    """Put x (B, L, K, ...), a token after the other along each path, back where its pixels are."""
    return x if ways.is_sequence else _for_each_group(x, ways, _laid_back)


def _for_each_group(x: Tensor, ways: Ways, reorder: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    groups = x.unbind(2) * (len(ways.paths) // x.shape[2])
    return torch.stack([reorder(y, path, ways.width) for y, path in zip(groups, ways.paths, strict=True)], dim=2)


def _walked(x: Tensor, path: int, width: int) -> Tensor:
    """(B, L, ...) in the order of `path`."""
    if path in (Path.COLUMNS, Path.COLUMNS_BACKWARDS):
        x = x.view(x.shape[0], -1, width, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
    return x.flip(1) if path in (Path.ROWS_BACKWARDS, Path.COLUMNS_BACKWARDS) else x


def _laid_back(x: Tensor, path: int, width: int) -> Tensor:
    """Undo `_walked`."""
    if path in (Path.ROWS_BACKWARDS, Path.COLUMNS_BACKWARDS):
        x = x.flip(1)
    if path in (Path.COLUMNS, Path.COLUMNS_BACKWARDS):
        x = x.view(x.shape[0], width, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)
    return x
