"""Checkpoints read without running their code, because they may come from anywhere (see `environment`)."""

import errno
import io
import pickle
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
import ultralytics
from ultralytics.nn import tasks
from ultralytics.utils import downloads
from ultralytics.utils.torch_utils import strip_optimizer, unwrap_model

from trainer.exceptions import DivergedError, ModelError
from trainer.system import atomic_files
from trainer.ultralytics_bridge import registration as _registration  # noqa: F401 - makes our modules known classes

_EXACT = "exact"
"""Key in a checkpoint for the state that ultralytics does not save."""

_TEACHER = "teacher_model."
"""Prefix of the names of weights that a student learns from; they never change."""

_REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|<class '([\w.]+)'>")

_OTHER_CODE = ("models.", "yolov6.", "mmengine.", "super_gradients.")
"""Module prefixes of classes in checkpoints of YOLOv5, YOLOv7, YOLOv9, YOLOv6, MMDetection and YOLO-NAS."""

_REASONS = {
    "references types outside the supported": "it has weights without their model, or other content",
    "Weights only load failed": "it was not saved by PyTorch",
    "not in a subdirectory": "it is an archive that was not saved by PyTorch",
    "Invalid argument": "it is truncated",
    "failed finding central directory": "it is truncated",
}
"""Meaning of errors while reading a file, keyed by a part of their text."""


def load(path: str | Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Call ultralytics' `load_checkpoint`; return the model, in float32, and the whole checkpoint.

    Raises:
        ModelError: The file is no model checkpoint, is damaged, or contains more than tensors and known classes.
    """
    try:
        model, checkpoint = tasks.load_checkpoint(path)
    except MemoryError:
        raise
    except Exception as error:  # broken or hostile bytes can raise anything in a loader
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # torch seeks beyond the end of a truncated file
            raise
        raise ModelError(_told(path, error)) from error
    return model, checkpoint


def whole(trainer: Any, batches_since_step: int) -> bytes:
    """Serialize a checkpoint in ultralytics' layout plus all state it leaves out, for an exact resume.

    ultralytics itself resumes with the averaged weights, rounded to half precision, in place of the trained weights.

    Args:
        trainer: ultralytics' trainer, at the end of an epoch.
        batches_since_step: Batches whose gradients no optimizer step has used yet.

    Raises:
        DivergedError: A weight is NaN or infinite.
    """
    model = unwrap_model(trainer.model)
    averaged = deepcopy(trainer.ema.ema).to(memory_format=torch.contiguous_format)
    if hasattr(averaged, "criterion"):
        averaged.criterion = None
    pending = {name: p.grad for name, p in model.named_parameters() if p.grad is not None} if batches_since_step else {}
    trained = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_TEACHER)}
    exact = {"model": trained, "pending": pending, "batches_since_step": batches_since_step}
    for tensor in (*averaged.state_dict().values(), *trained.values()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DivergedError(f"a weight became NaN or infinite in epoch {trainer.epoch + 1}")
    buffer = io.BytesIO()
    torch.save(
        {
            "epoch": trainer.epoch,
            "best_fitness": trainer.best_fitness,
            "stopper": {name: getattr(trainer.stopper, name) for name in ("best_fitness", "best_epoch")},
            "model": None,
            "ema": averaged,
            "updates": trainer.ema.updates,
            "optimizer": trainer.optimizer.state_dict(),
            "scaler": trainer.scaler.state_dict(),
            "train_args": vars(trainer.args),
            "train_metrics": {**trainer.metrics, "fitness": trainer.fitness},
            "train_results": trainer.read_results_csv(),
            "date": datetime.now().astimezone().isoformat(),
            "version": ultralytics.__version__,
            "license": "AGPL-3.0 (https://ultralytics.com/license)",
            "docs": "https://docs.ultralytics.com",
            _EXACT: exact,
        },
        buffer,
    )
    return buffer.getvalue()


def restore(trainer: Any, checkpoint: Mapping[str, Any]) -> tuple[Mapping[str, torch.Tensor], int]:
    """Restore the state that ultralytics does not load itself.

    Returns:
        Gradients that no step has used, by parameter name, and the number of batches that they cover.
    """
    exact = checkpoint[_EXACT]
    model = unwrap_model(trainer.model)
    model.load_state_dict({**model.state_dict(), **exact["model"]})  # a teacher comes from its own file
    values = dict(checkpoint["train_metrics"])
    trainer.fitness = values.pop("fitness")
    trainer.metrics = values
    return exact["pending"], exact["batches_since_step"]


def check_resumable(path: Path, epoch: int) -> None:
    """Load a checkpoint to check that training can resume from it after `epoch` (1-based).

    Raises:
        ModelError: It cannot be loaded, is stripped, contains a weight that is not finite, or is from another epoch.
    """
    model, checkpoint = load(path)
    if not checkpoint.get("optimizer") or _EXACT not in checkpoint:
        raise ModelError("it has no optimizer state and training weights to resume from")
    if checkpoint.get("epoch") != epoch - 1:
        raise ModelError(f"it must be from epoch {epoch}, but its zero-based epoch is {checkpoint.get('epoch')!r}")
    # Gradients for the next step may be infinite in half precision: the scaler then skips that step.
    trained = checkpoint[_EXACT]["model"]
    for tensor in (*model.state_dict().values(), *_tensors(checkpoint["optimizer"]), *trained.values()):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError("it has weights that are NaN or infinite")


def stripped(path: Path, updates: Mapping[str, Any]) -> bytes:
    """Strip our checkpoint as ultralytics does after a finished training: no optimizer, half precision."""
    load(path)  # allows the classes in it for the load below
    target = atomic_files.staging_path(path.with_suffix(".stripped.pt"))
    try:
        strip_optimizer(path, s=str(target), updates={**updates, _EXACT: None})
        return target.read_bytes()
    finally:
        target.unlink(missing_ok=True)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield all tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _told(path: str | Path, error: Exception) -> str:
    causes = [error, *_causes(error)]
    refusal = next((cause for cause in causes if isinstance(cause, pickle.UnpicklingError)), None)
    found = _REFUSED_GLOBAL.search(str(refusal)) if refusal else None
    if found and (found[1] or found[2]).startswith(_OTHER_CODE):
        return (
            f"The checkpoint '{path}' must be one that ultralytics saved, but it comes from other code and "
            f"contains '{found[1] or found[2]}'; choose weights that ultralytics trained, or the name of a model."
        )
    if found:
        return (
            f"The checkpoint '{path}' must have only tensors and modules of torch, ultralytics and this package, but "
            f"has '{found[1] or found[2]}'; use weights from a trusted source, saved by ultralytics or this package."
        )
    return (
        f"The checkpoint '{path}' must be one that ultralytics saved, but cannot be loaded: {_reason(causes[-1])}; "
        "choose another, or save or copy it again."
    )


def _reason(error: BaseException) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if isinstance(error, EOFError):
        return "it is empty"
    return next((meaning for part, meaning in _REASONS.items() if part in text), text[:150])


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__ is not None:
        error = error.__cause__
        yield error


def _as_named(file: str | Path, *args: object, **options: object) -> str:
    """Return the file as named: ultralytics renames `yolov5s.pt`, drops apostrophes, and downloads missing files."""
    return str(file)


downloads.attempt_download_asset = _as_named
