"""Reading checkpoints, which may come from anywhere, without running what is in them (see `environment`)."""

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn import tasks
from ultralytics.utils.torch_utils import strip_optimizer

from trainer import files
from trainer.exceptions import ModelError
from trainer.ultralytics_bridge import registration as _registration  # noqa: F401 - makes our modules known classes

_REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)|<class '([\w.]+)'>")


def load(path: str | Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """ultralytics' `load_checkpoint`: the model, in float32, and all that the checkpoint holds.

    Raises:
        ModelError: no checkpoint of a model, damaged, or one that holds more than tensors and known classes.
    """
    try:
        model, checkpoint = tasks.load_checkpoint(path)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # whatever broken or hostile bytes bring about in a loader
        raise ModelError(_told(path, error)) from error
    return model, checkpoint


def check_resumable(path: Path, epoch: int) -> None:
    """Load a checkpoint as if to go on from it, after `epoch` (1-based).

    Raises:
        ModelError: it cannot be loaded, is stripped, or holds a weight that is not finite; or is of another epoch.
    """
    model, checkpoint = load(path)
    if not checkpoint.get("optimizer"):
        raise ModelError("it has no optimizer to go on with")
    if checkpoint.get("epoch") != epoch - 1:
        raise ModelError(f"it must be of epoch {epoch}, but counts {checkpoint.get('epoch')!r} epochs before its own")
    for tensor in (*model.state_dict().values(), *_tensors(checkpoint["optimizer"])):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError("it holds weights that are NaN or infinite")


def stripped(path: Path, updates: Mapping[str, Any]) -> bytes:
    """A checkpoint of ours as ultralytics leaves it behind a finished training: no optimizer, half precision."""
    load(path)  # lets the classes in it be known to what follows
    target = files.staging_path(path.with_suffix(".stripped.pt"))
    try:
        strip_optimizer(path, s=str(target), updates=dict(updates))
        return target.read_bytes()
    finally:
        target.unlink(missing_ok=True)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in nested dicts and lists."""
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
    if found:
        return (
            f"The checkpoint '{path}' must hold only tensors and modules of torch, ultralytics and this package, but "
            f"holds '{found[1] or found[2]}': use weights from whom you trust, saved by ultralytics or by this package."
        )
    reason = " ".join(str(causes[-1]).split())[:150]
    return (
        f"The checkpoint '{path}' must be one that ultralytics saved, but cannot be loaded "
        f"({type(causes[-1]).__name__}: {reason}): save or copy it again."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    while error.__cause__ is not None:
        error = error.__cause__
        yield error
