"""Inputs and outputs that all implementations of the selective scan share.

Shapes: B batch, L = H*W pixels of a map (H = 1 for a plain sequence), K groups, D channels of a group, N states of a
channel. Q is K, or 1 if all groups read the same input.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Path(IntEnum):
    """Order in which a group visits the pixels of a map."""

    ROWS = 0
    COLUMNS = 1
    ROWS_BACKWARDS = 2
    COLUMNS_BACKWARDS = 3


CROSS = tuple(map(int, Path))
"""Four paths of "VMamba", https://arxiv.org/abs/2401.10166, "2D-Selective-Scan"."""


class Ways(NamedTuple):
    """Paths of the groups over a map."""

    width: int
    """Pixels in a row, W. A plain sequence is one row."""
    paths: tuple[int, ...]
    """One `Path` per group, K in total."""

    @property
    def is_sequence(self) -> bool:
        """True if every group visits the tokens in memory order."""
        return all(path == Path.ROWS for path in self.paths)


class Scan(NamedTuple):
    """Tensors of one selective scan, or their gradients.

    They are stored pixel by pixel: every tensor with an L axis holds a path's token at the position of its pixel, not
    in the order of the path. Any strides are allowed.
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
        """True if all groups read one input. Their outputs are then added."""
        return self.u.shape[2] < self.delta.shape[2]


class Backend(Protocol):
    """Implementation of the scan."""

    @property
    def TAKES_HALF(self) -> bool:  # noqa: N802 - modules implement this with a constant
        """True if u, delta, B and C may be float16 or bfloat16. Otherwise they have the type of A, D and bias."""

    def why_not(self, device: torch.device) -> str | None:
        """Return why this implementation cannot run on `device`, in one line with the remedy, or None if it can."""

    def states_shape(self, scan: Scan) -> Sequence[int]:
        """Return the shape of the states kept for backward: float32, or float64 for float64 inputs."""

    def forward(self, scan: Scan, ways: Ways, *, save_states: bool) -> tuple[Tensor, Tensor]:
        """Return the output (B, L, Q, D), in float32 or float64, and the kept states (empty unless `save_states`).

        The outputs of groups that share an input are added.
        """

    def backward(self, gy: Tensor, scan: Scan, ways: Ways, states: Tensor) -> Scan:
        """Return the gradients of all seven tensors, in any floating-point type; `gy` is the output's gradient."""


def time_steps(low_rank: Tensor, weight: Tensor) -> Tensor:
    """Expand the low-rank form (B, L, K, R) of `Scan.delta` by a weight (K, D, R): (B, L, K, D)."""
    by_group = low_rank.flatten(0, 1).transpose(0, 1)  # (K, B*L, R)
    delta = by_group @ weight.transpose(1, 2)  # (K, B*L, D)
    return delta.transpose(0, 1).view(*low_rank.shape[:3], -1)


def time_steps_backward(gdelta: Tensor, low_rank: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of both arguments of `time_steps`, by the same products as torch's own derivative."""
    by_group, gdelta = (x.flatten(0, 1).transpose(0, 1) for x in (low_rank, gdelta))
    # The strides that torch's derivative sees: for R = 1 they decide how the product is computed, and so its last bit.
    as_saved = weight.transpose(1, 2).reshape(weight.shape[0], weight.shape[2], weight.shape[1]).transpose(1, 2)
    glow_rank = torch.bmm(gdelta, as_saved).transpose(0, 1).view(low_rank.shape)
    return glow_rank, torch.bmm(by_group.transpose(1, 2), gdelta).transpose(1, 2)


def along_paths(x: Tensor, ways: Ways) -> Tensor:
    """Reorder x (B, L, Q, ...) from pixel order to path order: (B, L, K, ...)."""
    if ways.is_sequence and x.shape[2] == len(ways.paths):
        return x
    return _for_each_group(x, ways, _walked)


def from_paths(x: Tensor, ways: Ways) -> Tensor:
    """Reorder x (B, L, K, ...) from path order back to pixel order."""
    return x if ways.is_sequence else _for_each_group(x, ways, _laid_back)


def _for_each_group(x: Tensor, ways: Ways, reorder: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    groups = x.unbind(2) * (len(ways.paths) // x.shape[2])
    return torch.stack([reorder(y, path, ways.width) for y, path in zip(groups, ways.paths, strict=True)], dim=2)


def _walked(x: Tensor, path: int, width: int) -> Tensor:
    """Reorder x (B, L, ...) from pixel order to the order of `path`."""
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
