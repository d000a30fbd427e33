"""Detectors to measure, and the scans to use in them."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor
from torch.profiler import record_function

from benchmarks.breakdown import LOSS
from benchmarks.crossed import CrossScan
from trainer.nn import ss2d
from trainer.ultralytics_bridge import environment

environment.configure()

from trainer.ultralytics_bridge.synthetic import (  # noqa: E402 - ultralytics reads its settings when it is imported
    SyntheticDetector,
)

_TOLERANCE = 1e-4

T = TypeVar("T")


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
