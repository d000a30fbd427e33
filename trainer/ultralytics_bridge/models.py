"""Model lookup and model size."""

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import DEFAULT_CFG_DICT

from trainer.exceptions import ModelError
from trainer.models import MODEL_NAMES, model_yaml
from trainer.nn import SS2D
from trainer.system import atomic_files
from trainer.ultralytics_bridge import checkpoints, heads, model_files

_SHIPPED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.yaml")
"""Pattern of a bare file name: ultralytics downloads a URL, and searches folders for a path or a pattern."""


def locate(name: str) -> str:
    """Return the path or name that ultralytics understands, for a model as a user names it.

    Args:
        name: `mamba-yolo-t`, a detection YAML of the installed ultralytics (`yolov8n.yaml`), the path of a model
            YAML, or the path of a `.pt` checkpoint to fine-tune from.

    Raises:
        ModelError: Nothing has that name, or the YAML is larger or more complex than any model needs.
    """
    if name.removesuffix(".yaml") in MODEL_NAMES:
        return str(model_yaml(name.removesuffix(".yaml")))
    path = Path(name)
    if name.endswith(".pt"):
        if not os.path.isfile(path):  # noqa: PTH113
            raise ModelError(
                f"A checkpoint to fine-tune from must exist (nothing is downloaded), but '{name}' does not."
            )
        return str(path.resolve())
    if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        model_files.check(path)
        return str(path.resolve())
    if _SHIPPED.fullmatch(name):
        try:
            yaml_model_load(name)
        except (FileNotFoundError, OSError) as error:
            raise ModelError(_unknown(name)) from error
        return name
    raise ModelError(_unknown(name))


def _unknown(name: str) -> str:
    return (
        f"The model must be one of {', '.join(MODEL_NAMES)}, a detection YAML that ultralytics "
        f"{version('ultralytics')} knows (yolov8n.yaml), or a .pt file, but got '{name}'."
    )


def count_parameters(model: str, num_classes: int, channels: int = 3) -> int:
    """Count the parameters of a located model built for `num_classes` and images with `channels` channels.

    Raises:
        ModelError: It is not a detector, or cannot be built.
    """
    return sum(p.numel() for p in _built(model, num_classes, channels).parameters())


def has_scan(model: str, num_classes: int, channels: int = 3) -> bool:
    """Check whether a located model contains selective scans; the errors are those of `count_parameters`."""
    return any(isinstance(module, SS2D) for module in _built(model, num_classes, channels).modules())


def _built(model: str, num_classes: int, channels: int) -> DetectionModel:
    with faults_told(model):
        cfg: Any = checkpoints.load(model)[0].yaml if model.endswith(".pt") else yaml_model_load(model)
        heads.check(cfg, model)
        return DetectionModel(cfg, ch=channels, nc=num_classes, verbose=False)


def digest(model: str) -> str:
    """Return the SHA-256, in hex, of a located model, whatever its folder.

    For a YAML, the hash covers the parsed layers and the scale that ultralytics takes from the file name, not comments.
    """
    if model.endswith(".pt"):
        return atomic_files.sha256(Path(model))
    layers = {key: value for key, value in yaml_model_load(model).items() if key != "yaml_file"}
    return hashlib.sha256(json.dumps(layers, sort_keys=True, default=str).encode()).hexdigest()


@contextlib.contextmanager
def faults_told(model: str) -> Iterator[None]:
    """Turn the errors that ultralytics raises when it cannot build a model into one line.

    Raises:
        ModelError: ultralytics raised an error that is not about the machine.
    """
    try:
        yield
    except (ModelError, MemoryError, OSError):
        raise
    except Exception as error:
        if "memory" in str(error):  # of a GPU, or torch's own message for host memory
            raise
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The model '{model}' cannot be built as a detector: {type(error).__name__}: {reason}"
        ) from error


def portable(model: str, num_classes: int, channels: int, directory: Path) -> str:
    """Return a model reference for a process that has not imported `trainer`.

    Such a process cannot build a YAML that uses our modules, so the result is then an untrained checkpoint: unpickling
    it imports `trainer`, which registers the modules. It is written to `directory` unless it already exists.
    """
    if Path(model).parent != model_yaml(MODEL_NAMES[0]).parent:
        return model
    target = directory / f"{Path(model).stem}-untrained.pt"
    if not target.exists():
        net = DetectionModel(model, ch=channels, nc=num_classes, verbose=False)
        net.args = dict(DEFAULT_CFG_DICT)
        content = io.BytesIO()
        torch.save({"epoch": -1, "model": net, "train_args": {}, "version": version("ultralytics")}, content)
        atomic_files.write_whole(target, content.getvalue())
    return str(target)


def versions() -> dict[str, str]:
    """Return the versions of the training software."""
    return {
        "ultralytics": version("ultralytics"),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
    }
