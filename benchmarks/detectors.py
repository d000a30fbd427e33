"""Detectors to measure, and the scans to use in them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.profiler import record_function

from benchmarks import contestants
from benchmarks.breakdown import LOSS
from benchmarks.contestants import SelectiveScan
from trainer.nn import ss2d
from trainer.nn.selective_scan import cross_selective_scan, time_steps
from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.ultralytics_bridge.synthetic import (  # noqa: E402 - ultralytics reads its settings when it is imported
    SyntheticDetector,
)

_TOLERANCE = 1e-4

T = TypeVar("T")

CrossScan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""Function with the arguments of `cross_selective_scan`."""


class Detector(SyntheticDetector):
    """New model and a synthetic batch for it."""

    def train_with_loss_apart(self) -> None:
        """Run `train`, but with the loss and its own backward under one name for the profiler."""
        self.model.train()
        predictions: dict[str, Any] = self.model(self.batch["img"])
        outputs = {name: x for name, x in predictions.items() if isinstance(x, Tensor)}
        cut = {name: x.detach().requires_grad_() for name, x in outputs.items()}
        with record_function(LOSS):
            self.model.loss(self.batch, {**predictions, **cut})[0].sum().backward()
        torch.autograd.backward(list(outputs.values()), [x.grad for x in cut.values()])
        self.model.zero_grad()


def cross_scans(device: torch.device) -> tuple[dict[str, CrossScan], dict[str, str]]:
    """Return the scans to use in a model by name, our fastest first, and the reason for each missing one."""
    available, unavailable = contestants.ours(device)
    names = sorted(available, key=lambda name: name != contestants.default(device))
    ours: dict[str, CrossScan] = {name: partial(cross_selective_scan, backend=name) for name in names}
    scans, missing = contestants.others()
    return {**ours, **{name: _along_four_paths(scan) for name, scan in scans.items()}}, {**unavailable, **missing}


def _along_four_paths(scan: SelectiveScan) -> CrossScan:
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


def with_scan(scan: CrossScan, work: Callable[[], T]) -> T:
    """Run some work on a model while another scan replaces its own."""
    with patch.object(ss2d, "cross_selective_scan", scan):
        return work()


def check_agreement(detector: Detector, scans: Mapping[str, CrossScan]) -> None:
    """Raise a RuntimeError unless all scans give the same model output."""
    (first, scan), *rest = scans.items()
    expected = with_scan(scan, detector.infer)
    for name, other in rest:
        got = with_scan(other, detector.infer)
        error = ((got - expected).abs().max() / expected.abs().max()).item()
        if not error <= _TOLERANCE:
            raise RuntimeError(f"With the scan '{name}' the model's output is off '{first}' by a share of {error:.1e}.")
