"""Crossed scans to compare: scans of a map along four paths, as SS2D calls them."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import contestants
from benchmarks.contestants import SelectiveScan
from trainer.nn.selective_scan import cross_selective_scan, time_steps

CrossScan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Function with the arguments of `cross_selective_scan`."""


def cross_scans(device: torch.device) -> tuple[dict[str, CrossScan], dict[str, str]]:
    """Return the scans to use in a model by name, our fastest first, and the reason for each missing one."""
    available, unavailable = contestants.ours(device)
    names = sorted(available, key=lambda name: name != contestants.default(device))
    ours: dict[str, CrossScan] = {name: partial(cross_selective_scan, backend=name) for name in names}
    scans, missing = contestants.others()
    return {**ours, **{name: along_four_paths(scan) for name, scan in scans.items()}}, {**unavailable, **missing}


def along_four_paths(scan: SelectiveScan) -> CrossScan:
    """Build `cross_selective_scan` from a sequence scan as VMamba does: lay out the paths, add the results."""

    def cross_scan(
        u: Tensor,
        low_rank: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor,
        delta_bias: Tensor,
        dt_weight: Tensor,
    ) -> Tensor:
        delta = time_steps(low_rank.flatten(1, 2), dt_weight).view(*low_rank.shape[:4], -1)
        rows_u, rows_delta = (_laid_out(x).flatten(1, 2) for x in (u.unsqueeze(3).expand_as(delta), delta))
        A, D, delta_bias = (x.flatten(0, 1) for x in (A, D, delta_bias))
        y = scan(rows_u, rows_delta, A, _laid_out(B), _laid_out(C), D, delta_bias)
        return _merged(torch.unflatten(y, 1, (4, -1)), *u.shape[1:3])

    return cross_scan


def _laid_out(x: Tensor) -> Tensor:
    """Lay out (B, H, W, 4, X) as (B, 4, X, L), the pixels of each path in sequence."""
    rows, columns, rows_backwards, columns_backwards = x.unbind(3)
    paths = (
        rows.flatten(1, 2),
        columns.transpose(1, 2).flatten(1, 2),
        rows_backwards.flatten(1, 2).flip(1),
        columns_backwards.transpose(1, 2).flatten(1, 2).flip(1),
    )
    return torch.stack(paths, dim=2).permute(0, 2, 3, 1)


def _merged(y: Tensor, height: int, width: int) -> Tensor:
    """Sum (B, 4, D, L) over the paths to (B, H, W, D)."""
    rows, columns, rows_backwards, columns_backwards = y.unbind(1)
    by_rows = torch.unflatten(rows + rows_backwards.flip(2), 2, (height, width))
    by_columns = torch.unflatten(columns + columns_backwards.flip(2), 2, (width, height))
    return by_rows.permute(0, 2, 3, 1) + by_columns.permute(0, 3, 2, 1)
