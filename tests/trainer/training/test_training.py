"""ultralytics' trainer, with its pitfalls fixed, in this process."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import SequentialSampler

from trainer.ultralytics_bridge import environment

environment.configure()

import ultralytics.models.yolo.detect.train  # noqa: E402

from trainer.exceptions import DivergedError  # noqa: E402
from trainer.nn import is_ssm_parameter  # noqa: E402
from trainer.run_state.divergence import LossWatch  # noqa: E402
from trainer.training import trial  # noqa: E402 - only after the environment is set
from trainer.ultralytics_bridge.training import SearchTrainer  # noqa: E402
from tuner.contract import Outcome  # noqa: E402


class Silent:
    """A supervisor that only asks for the end."""

    last_epoch = 1

    def validates(self, epoch):
        return False

    def batch_trained(self, done, total):
        pass

    def epoch_trained(self, epoch):
        pass

    def checkpoint_written(self, epoch, path):
        pass


@pytest.fixture
def search_trainer(train_request):
    request = train_request(epochs=1, weight_decay=0.01)
    Path(request.directory).mkdir()
    trainer = SearchTrainer(trial._arguments(request), Silent(), full=False)
    trainer._setup_train()
    return trainer


def test_state_space_parameters_get_no_weight_decay_and_no_bias_warm_up(search_trainer):
    names = {id(p): name for name, p in search_trainer.model.named_parameters()}
    groups = {}
    for group in search_trainer.optimizer.param_groups:
        for parameter in group["params"]:
            groups.setdefault(names[id(parameter)], []).append((group["param_group"], group["weight_decay"]))
    trained = {name for name, p in search_trainer.model.named_parameters() if p.requires_grad}
    assert trained <= set(groups)
    assert all(len(where) == 1 for where in groups.values()), "every parameter is in one group"
    ssm = [name for name in groups if is_ssm_parameter(name)]
    assert any("A_logs" in name for name in ssm)
    assert any("dt_projs_bias" in name for name in ssm)
    assert all(groups[name] == [("bn", 0.0)] for name in ssm)
    assert sum(decay > 0 for ((_, decay),) in groups.values()) > 50, "ordinary weights are decayed"


@pytest.mark.parametrize(
    ("message", "outcome", "is_retryable"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", Outcome.OUT_OF_MEMORY, False),
        ("CUBLAS_STATUS_ALLOC_FAILED", Outcome.OUT_OF_MEMORY, False),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", Outcome.ERROR, True),
        ("GET was unable to find an engine to execute this computation", Outcome.ERROR, True),
    ],
)
def test_what_ultralytics_sees_as_a_lack_of_memory_ends_the_trial_with_its_batch(
    train_request, monkeypatch, message, outcome, is_retryable
):
    batches = []

    def preprocess_batch(self, batch):
        batches.append(self.batch_size)
        raise RuntimeError(message)

    monkeypatch.setattr(SearchTrainer, "preprocess_batch", preprocess_batch)
    end = trial.run(train_request(epochs=1), lambda record: None)
    assert (end.outcome, end.retryable) == (outcome, is_retryable)
    assert batches == [8]


def test_nan_in_a_weight_ends_the_trial_at_that_batch_and_leaves_no_checkpoint(train_request, monkeypatch):
    step = SearchTrainer.optimizer_step

    def poisoned_step(self):
        step(self)
        with torch.no_grad():
            next(self.model.parameters()).fill_(float("nan"))

    monkeypatch.setattr(SearchTrainer, "optimizer_step", poisoned_step)
    request = train_request(epochs=2)
    end = trial.run(request, lambda record: None)
    assert end.outcome == Outcome.DIVERGED
    assert end.message == "the loss became NaN in epoch 1, batch 2"
    assert not (Path(request.directory) / "weights" / "last.pt").exists()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_exploding_loss_is_seen_at_its_batch_on_every_device_however_short_the_epochs(device):
    """Only reading the loss depends on the device, so a stand-in for the trainer shows it."""
    trainer = SimpleNamespace(
        device=torch.device(device),
        supervisor=Silent(),
        train_loader=range(9),
        batch_size=8,
        epoch=1,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        tloss={},
        _watch=LossWatch(),
        _batch=0,
    )
    for batch in range(14):
        trainer.loss = torch.tensor(8.0)
        trainer._batch = batch % 9
        SearchTrainer._check_loss(trainer)
    trainer.loss = torch.tensor(8.0 * 101)
    with pytest.raises(DivergedError, match=r"the loss exploded to 101, 101 times .* in epoch 2, batch 6"):
        SearchTrainer._check_loss(trainer)


def test_optimizer_auto_never_reaches_ultralytics(train_request):
    end = trial.run(train_request(epochs=1, optimizer="auto"), lambda record: None)
    assert end.outcome == Outcome.ERROR
    assert "ignores lr0" in end.message


def test_no_tracker_download_or_telemetry_is_on():
    code = (
        "from trainer.ultralytics_bridge import environment; environment.configure();"
        "from ultralytics.utils import AUTOINSTALL, ONLINE, SETTINGS;"
        "names = ('sync', 'mlflow', 'clearml', 'comet', 'dvc', 'raytune', 'wandb');"
        "print([name for name in names if SETTINGS[name]], AUTOINSTALL, ONLINE)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] False False"


@pytest.mark.parametrize(("workers", "started"), [(8, 4), (4, 2), (1, 2), (0, 0)])
def test_validation_has_half_as_many_loaders_as_training(train_request, monkeypatch, workers, started):
    """ultralytics starts twice as many, and their batches fill shared memory while a trial trains."""
    asked = {}

    def build(dataset, *, workers, shuffle, **options):
        asked["train" if shuffle else "val"] = workers
        return SimpleNamespace(sampler=SequentialSampler(dataset))

    monkeypatch.setattr(ultralytics.models.yolo.detect.train, "build_dataloader", build)
    request = train_request(epochs=1)
    trainer = SearchTrainer(trial._arguments(request), Silent(), full=False)
    trainer.model, trainer.args.workers = SimpleNamespace(stride=torch.tensor([32])), workers
    for mode in ("train", "val"):
        trainer.get_dataloader(trainer.data[mode], batch_size=8, mode=mode)
    assert asked == {"train": workers, "val": started}
    assert trainer.args.workers == workers, "as in args.yaml"
