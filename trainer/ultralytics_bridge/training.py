"""ultralytics' detection trainer without the behaviour that would harm a search.

Stock ultralytics halves the batch when memory runs out, "recovers" from NaN by writing zeros into the weights, reports
one epoch too many, decays the state-space parameters, strips the checkpoint that a later resume needs, writes
checkpoints in place, so that a kill leaves a partial file, and unpickles any file that it gets.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import torch
import ultralytics.cfg
import ultralytics.engine.trainer as engine
from torch.utils.data import SequentialSampler
from ultralytics.data.build import ContiguousDistributedSampler
from ultralytics.engine import validator
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils import LOCAL_RANK, RANK
from ultralytics.utils.torch_utils import EarlyStopping, torch_distributed_zero_first, unwrap_model

from trainer.exceptions import DivergedError, OutOfMemoryError
from trainer.nn import SS2D, is_ssm_parameter
from trainer.nn.selective_scan import scan_on
from trainer.run_state.checkpoints import BEST, LAST, Checkpoints
from trainer.run_state.divergence import LEAST_SCALE, LossWatch
from trainer.ultralytics_bridge import checkpoints, class_metrics, dataset_scan, determinism, models
from trainer.ultralytics_bridge import image_caches as _image_caches  # noqa: F401 - keeps caches out of the user's files
from trainer.ultralytics_bridge import label_caches as _label_caches  # noqa: F401 - reads label caches safely
from trainer.ultralytics_bridge import reading as _reading  # noqa: F401 - reports an unreadable image by name
from trainer.ultralytics_bridge import shared_images as _shared_images  # noqa: F401 - `share` makes trials share images

logger = logging.getLogger("trainer")

METRIC_KEYS = {
    "mAP50-95": "metrics/mAP50-95(B)",
    "mAP50": "metrics/mAP50(B)",
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
}


class Epoch:
    """Metrics and losses of one epoch, native Python numbers; see `tuner.contract.EpochRecord` for units."""

    def __init__(self, trainer: "SearchTrainer") -> None:
        self.number: int = trainer.epoch + 1
        self.losses = {name.removesuffix("_loss"): float(value) for name, value in trainer.tloss.items()}
        self.metrics = named_metrics(trainer.metrics) if trainer.validated else None
        self.seconds = time.monotonic() - trainer.epoch_began
        self.memory_gib = _peak_memory_gib(trainer.device)
        self.learning_rate = float(trainer.optimizer.param_groups[0]["lr"])
        self.batch = int(trainer.batch_size)
        self.scan = _scan_of(trainer.model, trainer.device)


class Supervisor(Protocol):
    """Decisions and callbacks that the trainer needs while it trains. Epochs are 1-based."""

    checkpoints: Checkpoints
    """Checkpoints of the run, in the folder `weights`."""

    def validates(self, epoch: int) -> bool:
        """Return whether this epoch needs metrics."""

    def batch_trained(self, done: int, total: int) -> None:
        """Handle the end of a batch, the `done`-th of `total` in its epoch."""

    def epoch_trained(self, epoch: Epoch) -> None:
        """Handle the end of an epoch; its checkpoint is not visible yet."""

    def checkpoint_written(self, epoch: int) -> None:
        """Handle a new checkpoint: that of this epoch is on disk under its final name."""

    @property
    def last_epoch(self) -> int:
        """True to stop after this epoch."""


class SearchTrainer(DetectionTrainer):  # type: ignore[misc]  # ultralytics has no types
    """Train one configuration and report to a supervisor.

    `full` evaluates best.pt at the end. With `begins_stage`, an earlier run continues at another size, where its best
    epoch so far does not count.
    """

    last: Any
    best: Any
    tloss: Any

    def __init__(
        self, overrides: Mapping[str, Any], supervisor: Supervisor, *, full: bool, begins_stage: bool = False
    ) -> None:
        self.supervisor = supervisor
        self.full = full
        self._begins_stage = begins_stage
        self.validated = False
        self.epoch_began = time.monotonic()
        self._watch = LossWatch()
        self._mean_losses: Mapping[str, torch.Tensor] | None = None
        self._accumulate = 1
        self._steps_counted_here = False
        self._batches_since_step = 0
        self._pending: Mapping[str, torch.Tensor] = {}
        super().__init__(overrides=dict(overrides))
        if self.device.type == "cpu":  # ultralytics supports ranks on GPUs only
            self.world_size = int(os.environ.get("WORLD_SIZE", "0"))
        self._kept_every = int(self.args.save_period)
        self.save_period = -1  # ultralytics would write those in place
        self.add_callback("on_train_start", SearchTrainer._count_steps)
        self.add_callback("on_train_epoch_start", SearchTrainer._begin_epoch)
        self.add_callback("on_train_batch_end", SearchTrainer._check_loss)

    def _begin_epoch(self) -> None:
        self.epoch_began = time.monotonic()
        self.validated = False
        self._mean_losses = None
        last = self.epoch + 1 >= self.supervisor.last_epoch
        self.args.val = last or self.supervisor.validates(self.epoch + 1)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._batch = 0
        if self.train_loader.iterator is None:  # the first epoch of this process; later ones count up on their own
            self._tell_sampler()
        determinism.seed_generators(self.args.seed, self.epoch, RANK + 1)
        self._restore_pending()

    def _tell_sampler(self) -> None:
        if isinstance(self.train_loader.sampler, determinism.EpochSampler):
            self.train_loader.sampler.begin(self.epoch)

    def _close_dataloader_mosaic(self) -> None:
        super()._close_dataloader_mosaic()
        self._tell_sampler()  # the loader starts again; it may have read ahead

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        dataset = super().build_dataset(img_path, mode, batch)
        dataset_scan.require_all(dataset)
        return dataset

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        workers = self.args.workers
        if mode == "val" and workers:  # ultralytics starts twice as many, and their batches wait in shared memory
            self.args.workers = max(workers // 4, 1)
        try:
            loader = super().get_dataloader(dataset_path, batch_size=batch_size, rank=rank, mode=mode)
        finally:
            self.args.workers = workers
        if mode == "train" and not isinstance(loader.sampler, SequentialSampler | ContiguousDistributedSampler):
            determinism.in_epochs(loader, seed=self.args.seed, rank=rank, num_ranks=self.world_size)
        return loader

    # ultralytics counts the batches since the last optimizer step itself and loses the count when it stops. We
    # therefore present every batch as one with a step and keep the count here.

    @property
    def accumulate(self) -> int:
        """Batches between two optimizer steps, as ultralytics sees it."""
        return 1 if self._steps_counted_here else self._accumulate

    @accumulate.setter
    def accumulate(self, batches: int) -> None:
        self._accumulate = int(batches)

    def _count_steps(self) -> None:
        self._steps_counted_here = True

    def optimizer_step(self) -> None:
        self._batches_since_step += 1
        if self._batches_since_step >= self._accumulate:
            self._batches_since_step = 0
            super().optimizer_step()

    def _restore_pending(self) -> None:
        """Restore the gradients of the batches since the last step; ultralytics clears them when training starts."""
        for name, parameter in unwrap_model(self.model).named_parameters():
            if name in self._pending:
                parameter.grad = self._pending[name].to(parameter.device, copy=True)
        self._pending = {}

    def _check_loss(self) -> None:
        self._batch += 1
        self.supervisor.batch_trained(self._batch, len(self.train_loader))
        # On a GPU, this does not wait longer: ultralytics has just formatted the losses for its progress bar.
        loss = float(self.loss.detach()) / max(self.batch_size, 1)
        reason = self._watch.verdict(loss, skips_overflows=self.scaler.is_enabled())
        if reason:
            raise DivergedError(f"{reason} in epoch {self.epoch + 1}, batch {self._batch}")
        if not self._watch.overflows:
            self._mean_losses = self.tloss
        elif self._mean_losses is not None or self._batch < len(self.train_loader):
            self.tloss = self._mean_losses  # otherwise the mean stays NaN until the end of the epoch

    def _setup_ddp(self) -> None:
        if self.device.type == "cpu":
            torch.distributed.init_process_group("gloo")
        else:
            super()._setup_ddp()

    def setup_model(self) -> Any:
        with models.faults_told(self.args.model):
            return super().setup_model()

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Resume with the arguments of the checkpoint, but in the mode that is asked for now."""
        super().check_resume({name: value for name, value in overrides.items() if name != "deterministic"})
        if self.resume:
            self.args.deterministic = overrides.get("deterministic", True)

    def resume_training(self, ckpt: Any) -> None:
        super().resume_training(ckpt)
        if not self.resume:
            return
        self._pending, self._batches_since_step = checkpoints.restore(self, ckpt)
        if self._begins_stage:
            self._pending, self._batches_since_step = {}, 0  # sums over batches of another size
            self.stopper = EarlyStopping(patience=self.args.patience)
        if self._begins_stage or not self.best.exists():
            self.best_fitness = None  # the next validated epoch becomes the best one

    def _setup_train(self) -> None:
        if self.device.type == "cpu" and self.world_size > 1:
            with _ranks_without_devices():
                super()._setup_train()
        else:
            super()._setup_train()

    def validate(self) -> tuple[Any, Any]:
        self.validated = True
        outcome: tuple[Any, Any] = super().validate()
        return outcome

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Never return to the last checkpoint: the run would only diverge again, and each batch has been checked."""
        if self.scaler.is_enabled() and self.scaler.get_scale() < LEAST_SCALE:
            raise DivergedError(f"the gradients overflowed in almost every step up to epoch {epoch + 1}")
        return False

    def _build_train_pipeline(self) -> None:
        """Refuse the second call: ultralytics would continue with half the batch after running out of memory."""
        if self.optimizer is not None:
            raise OutOfMemoryError("training ran out of memory; lower `batch` or `imgsz`")
        super()._build_train_pipeline()

    def build_optimizer(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Build ultralytics' groups, but exempt the state-space parameters from weight decay and bias warm-up."""
        optimizer: torch.optim.Optimizer = super().build_optimizer(model, *args, **kwargs)
        ssm = [p for name, p in model.named_parameters() if is_ssm_parameter(name)]
        moved = {id(p) for p in ssm}
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in moved]
        undecayed = [group for group in optimizer.param_groups if group["param_group"] == "bn"][-1]
        undecayed["params"].extend(ssm)
        return optimizer

    def save_model(self) -> bool:
        """Publish the checkpoints ultralytics would write: last.pt, and best.pt if this epoch validates best so far."""
        self.supervisor.epoch_trained(Epoch(self))
        written = self.supervisor.checkpoints
        is_best = self.validated and self.best_fitness == self.fitness
        written.publish(checkpoints.whole(self, self._batches_since_step), self.epoch + 1, is_best=is_best)
        if self._kept_every > 0 and self.epoch % self._kept_every == 0:
            written.keep(f"epoch{self.epoch}.pt")
        self.supervisor.checkpoint_written(self.epoch + 1)
        self.stop |= self.epoch + 1 >= self.supervisor.last_epoch
        return True

    def final_eval(self) -> None:
        """Evaluate best.pt and strip the checkpoints, in a final run only.

        Both checkpoints stay unchanged until best.pt is evaluated, so that a run killed before then need not train
        again.
        """
        if not self.full:
            return
        written = self.supervisor.checkpoints
        with torch_distributed_zero_first(LOCAL_RANK):
            if RANK in {-1, 0}:
                written.restore_best()
        on_cpu_ranks = self.device.type == "cpu" and self.world_size > 1
        with _evaluated_on_cpu() if on_cpu_ranks else contextlib.nullcontext():
            super().final_eval()
        if RANK in {-1, 0}:
            class_metrics.write(self.validator.metrics, Path(self.save_dir))
            history = {"train_results": self.read_results_csv()}
            for name, path in ((BEST, self.best), (LAST, self.last)):
                written.rewrite(name, checkpoints.stripped(path, history))


def named_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return ultralytics' validation metrics under the contract's names."""
    return {name: float(metrics[key]) for name, key in METRIC_KEYS.items()}


def _scan_of(model: torch.nn.Module, device: torch.device) -> str:
    """Return the implementation of the selective scan that a model trains with; empty if it has no scan."""
    has_scan = any(isinstance(module, SS2D) for module in model.modules())
    return scan_on(str(device)) if has_scan else ""


@contextlib.contextmanager
def _ranks_without_devices() -> Iterator[None]:
    """Drop the device that ultralytics names for each rank, which torch refuses for ranks on the CPU."""
    stock = torch.nn.parallel.DistributedDataParallel

    def on_cpu(model: torch.nn.Module, *, device_ids: object, **kwargs: Any) -> torch.nn.Module:
        return stock(model, **kwargs)

    torch.nn.parallel.DistributedDataParallel = on_cpu  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        torch.nn.parallel.DistributedDataParallel = stock  # type: ignore[misc]


@contextlib.contextmanager
def _evaluated_on_cpu() -> Iterator[None]:
    """Evaluate on the CPU, where ultralytics asks torch for the GPU of the rank."""
    stock = validator.AutoBackend, validator.get_torch_device_backend

    def on_cpu(*, device: torch.device, **options: Any) -> torch.nn.Module:
        model: torch.nn.Module = stock[0](device=torch.device("cpu"), **options)
        return model

    validator.AutoBackend = on_cpu
    validator.get_torch_device_backend = lambda kind: SimpleNamespace(current_device=lambda: 0)
    try:
        yield
    finally:
        validator.AutoBackend, validator.get_torch_device_backend = stock


def _peak_memory_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**30
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def is_amp_safe(model: torch.nn.Module) -> bool:
    """Check whether training in half precision works on the device of a model.

    The stock check also downloads a model and an image, and runs that model instead of ours. The scan is float32 under
    autocast whatever the result.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        return False
    name = torch.cuda.get_device_name(device)
    if _WITHOUT_AMP.search(name) is None:
        return True
    logger.warning("training in float32: half precision gives NaN on %s", name)
    return False


_WITHOUT_AMP = re.compile(r"\b(?:1630|1650|1660|T400|T550|T600|T1000|T1200|T2000|K40m)\b", re.IGNORECASE)
"""GPUs on which half precision gives NaN or no detections, as ultralytics lists them in its own check."""

engine.check_amp = is_amp_safe

# Stock ultralytics refuses an lr0 above 1. A search may try such values; divergence shows when they are too high.
ultralytics.cfg.CFG_FLOAT_KEYS |= {"lr0"}
ultralytics.cfg.CFG_FRACTION_KEYS -= {"lr0"}

engine.load_checkpoint = checkpoints.load

# It writes in place, and before the evaluation, which may still be interrupted. `SearchTrainer.final_eval` strips
# afterwards.
engine.strip_optimizer = lambda path, updates=None: {}

# In a log file a progress bar becomes a thousand lines.
engine.TQDM = partial(engine.TQDM, disable=True)
validator.TQDM = engine.TQDM
