"""Finding and measuring models, and the label caches that trials share."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.nn.tasks import DetectionModel, load_checkpoint, yaml_model_load
from ultralytics.utils import DEFAULT_CFG_DICT

from trainer.exceptions import DataError, ModelError
from trainer.models import MODEL_NAMES, model_yaml
from trainer.ultralytics_bridge import registration as _registration  # noqa: F401 - registers Mamba-YOLO's modules


def locate(name: str) -> str:
    """The path or name that ultralytics understands, for a model as a user names it.

    Args:
        name: `mamba-yolo-t`, a detection YAML of the installed ultralytics (`yolov8n.yaml`), the path of a model
            YAML, or the path of a `.pt` checkpoint to fine-tune from.

    Raises:
        ModelError: nothing of that name.
    """
    if name.removesuffix(".yaml") in MODEL_NAMES:
        return str(model_yaml(name.removesuffix(".yaml")))
    path = Path(name)
    if name.endswith(".pt"):
        if not path.is_file():
            raise ModelError(f"A checkpoint to fine-tune from must exist (nothing is downloaded), but got '{name}'.")
        return str(path.resolve())
    if path.is_file():
        return str(path.resolve())
    if name.endswith(".yaml"):
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


def count_parameters(model: str, num_classes: int) -> int:
    """Parameters of a located model when built for `num_classes`.

    Raises:
        ModelError: it cannot be built as a detector.
    """
    try:
        cfg: Any = load_checkpoint(model)[0].yaml if model.endswith(".pt") else model
        net = DetectionModel(cfg, nc=num_classes, verbose=False)
    except ModelError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The model '{model}' cannot be built as a detector: {type(error).__name__}: {reason}"
        ) from error
    return sum(p.numel() for p in net.parameters())


def portable(model: str, num_classes: int, directory: Path) -> str:
    """What a process that has not imported `trainer` can be given for a located model.

    A YAML with our modules means nothing to it, so the answer is an untrained checkpoint: unpickling one imports
    `trainer`, which registers the modules. Written to `directory` unless it is there already.
    """
    if Path(model).parent != model_yaml(MODEL_NAMES[0]).parent:
        return model
    target = directory / f"{Path(model).stem}-untrained.pt"
    if not target.exists():
        net = DetectionModel(model, nc=num_classes, verbose=False)
        net.args = dict(DEFAULT_CFG_DICT)
        temporary = target.with_suffix(".tmp")
        torch.save({"epoch": -1, "model": net, "train_args": {}, "version": version("ultralytics")}, temporary)
        temporary.replace(target)
    return str(target)


def versions() -> dict[str, str]:
    """Versions of what trains."""
    return {
        "ultralytics": version("ultralytics"),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
    }


def build_label_caches(data: Path) -> None:
    """Let ultralytics scan and cache both splits once, so that trials starting together do not write it at once.

    Raises:
        DataError: ultralytics finds no usable picture.
    """
    try:
        checked = check_det_dataset(str(data))
        args = get_cfg(overrides={"task": "detect", "data": str(data)})
        for split in ("train", "val"):
            build_yolo_dataset(args, checked[split], batch=1, data=checked, mode=split, rect=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"ultralytics cannot read the data set '{data}': {reason}") from error
