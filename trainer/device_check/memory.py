"""Measure what a training step keeps for its backward pass, and the largest batch that fits a GPU."""

import gc

import torch
from torch import Tensor

from trainer.device_check.cases import half_on
from trainer.ultralytics_bridge.synthetic import SyntheticDetector
from tuner.contract import DeviceCheckRecord, ParamValue, Table

MODELS = ("mamba-yolo-n", "mamba-yolo-t", "mamba-yolo-b", "mamba-yolo-l", "yolov8n.yaml", "yolov8s.yaml")
_SMALL_MODELS = ("mamba-yolo-n", "yolov8n.yaml")
_IMGSZ = 640
_SMALL_IMGSZ = 64
_FIRST_BATCH = 4
_LARGEST_BATCH = 1024


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Measure each model; the largest batch is searched on a GPU only."""
    imgsz = _SMALL_IMGSZ if small else _IMGSZ
    rows: list[dict[str, ParamValue]] = []
    for model in _SMALL_MODELS if small else MODELS:
        row: dict[str, ParamValue] = {
            "model": model,
            "kept_mib_per_image": kept_bytes(model, imgsz, device, half=half_on(device)) / 2**20,
        }
        if device.type == "cuda":
            row |= _largest_batch(model, imgsz, device)
        rows.append(row)
    notes = () if device.type == "cuda" else ("the largest batch is searched on a GPU only",)
    return DeviceCheckRecord(tables=(Table(title=f"Training at {imgsz} pixels", rows=tuple(rows)),), notes=notes)


def kept_bytes(model: str, imgsz: int, device: torch.device, *, half: torch.dtype | None) -> int:
    """Count the bytes that forward keeps for backward, for one image and without the weights.

    Args:
        model: Model name or YAML.
        imgsz: Side of the image in pixels.
        device: Device to compute on.
        half: Type of autocast; None for float32.
    """
    detector = SyntheticDetector(model, imgsz, 1, device, half=half)
    weights = {x.untyped_storage().data_ptr() for x in detector.model.state_dict().values()}
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        detector.train()
    return sum(kept.values())


def _largest_batch(model: str, imgsz: int, device: torch.device) -> dict[str, ParamValue]:
    """Double the batch until it does not fit."""
    found: dict[str, ParamValue] = {}
    batch = _FIRST_BATCH
    while batch <= _LARGEST_BATCH:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:
            SyntheticDetector(model, imgsz, batch, device, half=half_on(device)).train()
        except torch.cuda.OutOfMemoryError:
            return {**found, "too_large_batch": batch}
        found = {"fitting_batch": batch, "peak_gib": torch.cuda.max_memory_allocated(device) / 2**30}
        batch *= 2
    return found
