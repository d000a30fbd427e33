"""Training in half precision: the GPUs that use it, and the effect of an overflow on a run."""

import math
from types import SimpleNamespace

import pytest
import torch

from benchmarks.half_precision import CountingScaler, half_precision_on_cpu
from trainer.run_state.divergence import LEAST_SCALE
from trainer.training import trial
from trainer.ultralytics_bridge.training import SearchTrainer, is_amp_safe
from tuner.contract import EpochRecord, Outcome


def on(device):
    return SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device(device))]))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("NVIDIA GeForce GTX 1650 Ti", False),
        ("NVIDIA GeForce GTX 1660 SUPER", False),
        ("GeForce GTX 1630", False),
        ("NVIDIA T400 4GB", False),
        ("NVIDIA T1000", False),
        ("Quadro T2000 with Max-Q Design", False),
        ("Tesla K40m", False),
        ("Tesla T4", True),
        ("NVIDIA T4G", True),
        ("NVIDIA H100 80GB HBM3", True),
        ("NVIDIA RTX 4000 SFF Ada Generation", True),
        ("NVIDIA RTX A2000", True),
        ("NVIDIA GeForce RTX 4060", True),
    ],
)
def test_gpus_whose_half_precision_gives_nan_train_in_float32(monkeypatch, name, safe):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert is_amp_safe(on("cuda:0")) == safe


def test_other_devices_train_in_float32():
    assert not is_amp_safe(on("cpu"))


class Overflowing(SearchTrainer):
    """A trainer whose loss is not finite in these batches, counted from 0."""

    batches = frozenset({1})

    def preprocess_batch(self, batch):
        self._number = getattr(self, "_number", -1) + 1
        if not hasattr(self, "_forward"):
            self._forward = self.model.forward
            self.model.forward = self._overflowing
        return super().preprocess_batch(batch)

    def _overflowing(self, x, *args, **kwargs):
        found = self._forward(x, *args, **kwargs)
        if self._number not in self.batches or not isinstance(x, dict):
            return found
        return found[0] * math.inf, {name: value * math.inf for name, value in found[1].items()}


@pytest.fixture
def trained(train_request, monkeypatch):
    """Return a function that gives the records and the end of a run in which the loss overflows."""

    def run(trainer, precision, epochs=2):
        monkeypatch.setattr(trial, "SearchTrainer", trainer)
        records = []
        with half_precision_on_cpu():
            end = trial.run(train_request(epochs=epochs, validation_epochs=(epochs,), amp=precision), records.append)
        return [record for record in records if isinstance(record, EpochRecord)], end

    return run


@pytest.mark.parametrize("batch", [0, 1])
def test_one_loss_that_overflows_costs_one_step_and_not_the_run(trained, batch):
    """The scaler skips the step, so the weights are unchanged."""

    class Once(Overflowing):
        batches = frozenset({batch})

    epochs, end = trained(Once, "fp16")
    assert end.outcome == Outcome.COMPLETED, end
    assert len(epochs) == 2
    assert all(math.isfinite(loss) for epoch in epochs for loss in epoch.losses.values())
    assert CountingScaler.skipped >= 1


def test_losses_that_overflow_one_after_the_other_end_the_run(trained):
    class Always(Overflowing):
        batches = frozenset(range(100))

    _, end = trained(Always, "fp16", epochs=3)
    assert end.outcome == Outcome.DIVERGED
    assert "in 5 batches in a row" in end.message


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_a_scaler_the_first_overflow_ends_the_run(trained, precision):
    _, end = trained(Overflowing, precision)
    assert end.outcome == Outcome.DIVERGED
    assert "in epoch 1, batch 2" in end.message


def test_a_run_whose_gradients_always_overflow_ends(trained):
    """Its loss is finite and does not change."""

    class Stuck(SearchTrainer):
        def optimizer_step(self):
            super().optimizer_step()
            self.scaler._scale.fill_(LEAST_SCALE / 2)

    _, end = trained(Stuck, "fp16")
    assert end.outcome == Outcome.DIVERGED
    assert "the gradients overflowed in almost every step up to epoch 1" in end.message
