"""Time inference and training of whole models with each selective scan, and of stock YOLOv8."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.device_check.cases import half_on, scans_on
from trainer.device_check.mode import torch_mode
from trainer.device_check.timing import median_ms
from trainer.models import MODEL_NAMES
from trainer.nn.selective_scan import ENVIRONMENT_VARIABLE
from trainer.ultralytics_bridge.synthetic import SyntheticDetector
from tuner.contract import DeviceCheckRecord, ParamValue, Table

STOCK = ("yolov8n.yaml", "yolov8s.yaml")
_SLOW_SCAN = "torch"
_WITH_SLOW_SCAN = "mamba-yolo-t"
"""Only model that is timed with plain torch, which takes many times as long."""

_IMGSZ, _BATCH = 640, 16
_SMALL_IMGSZ, _SMALL_BATCH = 64, 2
_SMALL_MODELS = ("mamba-yolo-n", "yolov8n.yaml")


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Time a batch of each model; a GPU without the memory for it is a note."""
    scans, notes = scans_on(device)
    imgsz, batch = (_SMALL_IMGSZ, _SMALL_BATCH) if small else (_IMGSZ, _BATCH)
    rows: list[dict[str, ParamValue]] = []
    for model in _SMALL_MODELS if small else (*_ours(), *STOCK):
        for scan in _scans_for(model, list(scans)):
            try:
                with _scanning_with(scan):
                    rows.append(_timed(model, scan, imgsz, batch, device))
            except torch.cuda.OutOfMemoryError:
                notes.append(f"{model} with {scan or 'no scan'}: batch {batch} at {imgsz} pixels does not fit")
                torch.cuda.empty_cache()
    title = f"Batch {batch} at {imgsz} pixels, training without optimizer and data loading"
    return DeviceCheckRecord(tables=(Table(title=title, rows=tuple(rows)),), notes=tuple(notes))


def _ours() -> list[str]:
    return [name for name in MODEL_NAMES if "aaai" not in name]  # same blocks in another order, about the same time


def _scans_for(model: str, scans: list[str]) -> list[str]:
    """Return the scans to time a model with, by name; the empty name for a model without one."""
    if model in STOCK:
        return [""]
    return [name for name in scans if name != _SLOW_SCAN or model == _WITH_SLOW_SCAN or len(scans) == 1]


def _timed(model: str, scan: str, imgsz: int, batch: int, device: torch.device) -> dict[str, ParamValue]:
    detector = SyntheticDetector(model, imgsz, batch, device, half=half_on(device))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    inference_ms, training_ms = median_ms(detector.infer, device), median_ms(detector.train, device)
    with torch_mode(deterministic=False):
        fast_ms = median_ms(detector.train, device)
    row: dict[str, ParamValue] = {
        "model": model,
        **({"scan": scan} if scan else {}),
        "inference_ms": inference_ms,
        "training_ms": training_ms,
        "nondeterministic_training_ms": fast_ms,
        "training_images_per_s": 1000 * batch / training_ms,
    }
    if device.type == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
    return row


@contextmanager
def _scanning_with(name: str) -> Iterator[None]:
    """Let models scan with this implementation; leave the choice to them for an empty name."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    if name:
        os.environ[ENVIRONMENT_VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ENVIRONMENT_VARIABLE, None)
        else:
            os.environ[ENVIRONMENT_VARIABLE] = before
