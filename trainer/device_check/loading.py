"""Measure how many images a second the data loaders of training deliver, without a model."""

import os
import time
from pathlib import Path

import torch

from trainer.data.sample.sample import located
from trainer.ultralytics_bridge.loaders import training_loader
from tuner.contract import DeviceCheckRecord, ParamValue, Table

_LOADERS = (1, 2, 4, 8)
_SMALL_LOADERS = (1,)
_DATA, _IMGSZ, _BATCH, _TIME_S = "sample", 640, 16, 8.0
_SMALL_DATA, _SMALL_IMGSZ, _SMALL_BATCH, _SMALL_TIME_S = "sample:16", 64, 4, 0.5


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Measure the default augmentation of the sample data set with several numbers of loading processes."""
    data, imgsz, batch, time_s = (
        (_SMALL_DATA, _SMALL_IMGSZ, _SMALL_BATCH, _SMALL_TIME_S) if small else (_DATA, _IMGSZ, _BATCH, _TIME_S)
    )
    path = located(data)
    cores = len(os.sched_getaffinity(0))
    rows: list[dict[str, ParamValue]] = []
    for loaders in _SMALL_LOADERS if small else _LOADERS:
        if loaders > max(cores, 1):
            break
        rate = _images_per_s(path, imgsz, batch, loaders, time_s, device)
        rows.append({"loaders": loaders, "images_per_s": rate, "images_per_s_and_loader": rate / loaders})
    title = f"Images of the sample data set, loaded with mosaic for batch {batch} at {imgsz} pixels, {cores} cores"
    return DeviceCheckRecord(tables=(Table(title=title, rows=tuple(rows)),))


def _images_per_s(data: Path, imgsz: int, batch: int, loaders: int, time_s: float, device: torch.device) -> float:
    """Load whole epochs until the time is over; the first epoch, in which the processes start, does not count."""
    loader = training_loader(data, imgsz, batch, loaders, device)
    for _ in loader:
        pass
    images, began_s = 0, time.perf_counter()
    while (elapsed_s := time.perf_counter() - began_s) < time_s:
        images += sum(len(loaded["img"]) for loaded in loader)
    return images / elapsed_s
