"""Data loaders of training without a trainer, to measure them."""

from pathlib import Path
from typing import Any

import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

from trainer.ultralytics_bridge import dataset_scan, determinism
from trainer.ultralytics_bridge import image_caches as _image_caches  # noqa: F401 - keeps caches out of the user's files
from trainer.ultralytics_bridge import label_caches as _label_caches  # noqa: F401 - reads label caches safely
from trainer.ultralytics_bridge import reading as _reading  # noqa: F401 - reports an unreadable image by name


def training_loader(data: Path, imgsz: int, batch: int, loaders: int, device: torch.device) -> Any:
    """Return an endless loader of training batches with ultralytics' default augmentation.

    Args:
        data: YAML of the data set.
        imgsz: Side of the images in pixels.
        batch: Images in a batch.
        loaders: Processes that load.
        device: Device that will train.
    """
    checked = check_det_dataset(str(data))
    arguments = get_cfg(overrides={"imgsz": imgsz, "task": "detect", "mode": "train", "data": str(data)})
    dataset = build_yolo_dataset(arguments, checked["train"], batch, checked, mode="train")
    dataset_scan.require_all(dataset)
    loader = build_dataloader(dataset, batch, loaders, shuffle=True, device=device)
    determinism.in_epochs(loader, seed=0, rank=-1, num_ranks=1)
    return loader
