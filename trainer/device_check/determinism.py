"""Train a few steps twice from the same start, and compare all weights bit by bit."""

import warnings

import torch
from torch import Tensor

from trainer.device_check.cases import half_on
from trainer.nn.selective_scan import scan_on
from trainer.ultralytics_bridge.synthetic import SyntheticDetector
from tuner.contract import DeviceCheckRecord, ParamValue, Table

_MODELS = ("mamba-yolo-t", "yolov8n.yaml")
_SMALL_MODELS = ("mamba-yolo-n", "yolov8n.yaml")
_STEPS = 5
_IMGSZ, _BATCH = 640, 8
_SMALL_IMGSZ, _SMALL_BATCH = 64, 2


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Compare two trainings of each model on the device; operations that torch calls nondeterministic are notes."""
    imgsz, batch = (_SMALL_IMGSZ, _SMALL_BATCH) if small else (_IMGSZ, _BATCH)
    rows: list[dict[str, ParamValue]] = []
    notes: list[str] = []
    problems = []
    for model in _SMALL_MODELS if small else _MODELS:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first, second = (_trained(model, imgsz, batch, device) for _ in range(2))
        different = sum(not torch.equal(first[name], second[name]) for name in first)
        scan = {} if model.endswith(".yaml") else {"scan": scan_on(str(device))}
        rows.append({"model": model, **scan, "steps": _STEPS, "tensors": len(first), "different": different})
        notes += [f"{model}: {text}" for text in dict.fromkeys(map(_line, caught)) if "deterministic" in text]
        if different:
            problems.append(
                f"{model}: two trainings of {_STEPS} steps from the same start differ in {different} of {len(first)} "
                "tensors, so a run cannot be repeated bit by bit"
            )
    table = Table(title=f"Weights after two trainings, batch {batch} at {imgsz} pixels", rows=tuple(rows))
    return DeviceCheckRecord(tables=(table,), notes=tuple(notes), problems=tuple(problems))


def _trained(model: str, imgsz: int, batch: int, device: torch.device) -> dict[str, Tensor]:
    detector = SyntheticDetector(model, imgsz, batch, device, half=half_on(device))
    optimizer = torch.optim.SGD(detector.model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        detector.accumulate()
        optimizer.step()
    return {name: x.detach().cpu() for name, x in detector.model.state_dict().items()}


def _line(warning: warnings.WarningMessage) -> str:
    return " ".join(str(warning.message).split())[:200]
