"""Measure a trained model: parameters, operations, and the latency of its network in torch and in onnxruntime."""

import math
import shutil
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.utils.cpu import CPUInfo
from ultralytics.utils.torch_utils import get_flops

from trainer.exceptions import ModelError, TrainerError
from trainer.ultralytics_bridge import checkpoints
from tuner.contract import Latency, MeasuredRecord

_WARM_UP_RUNS = 5
_MOST_RUNS = 50
_LEAST_RUNS = 5
_LIMIT_S = 5.0
"""Time after which a runtime is measured no longer, once it has the least number of runs, in seconds."""

_ONNX_PACKAGES = ("onnx", "onnxruntime")


def measured(weights: Path, imgsz: int, *, use_gpu: bool, threads: int, folder: Path) -> MeasuredRecord:
    """Measure the model in a weights file.

    Args:
        weights: File of the weights.
        imgsz: Side of the image in pixels; rounded up to a multiple of the model's stride, as in training.
        use_gpu: Measure on the first GPU if there is one.
        threads: CPU threads of each runtime.
        folder: Existing folder for temporary files.

    Raises:
        ModelError: The file cannot be loaded.
    """
    torch.set_num_threads(threads)
    model: Any = checkpoints.load(weights)[0].eval().float()
    stride = max(int(model.stride.max()), 32)
    size = math.ceil(imgsz / stride) * stride
    channels = int(getattr(model, "yaml", {}).get("channels", 3))
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    gflops = float(get_flops(model, size))
    latencies = [_torch_latency(model, (1, channels, size, size), weights, use_gpu=use_gpu)]
    notes = []
    try:
        latencies.append(_onnx_latency(weights, size, threads, folder))
    except _UnmeasuredError as reason:
        notes.append(f"ONNX was not measured: {reason}")
    return MeasuredRecord(
        imgsz=size,
        threads=threads,
        num_parameters=num_parameters,
        gflops=gflops or None,  # ultralytics returns 0 if counting fails
        latencies=tuple(latencies),
        notes=tuple(notes),
    )


class _UnmeasuredError(TrainerError):
    """A runtime cannot be measured; the text is the reason, for the user."""


def _torch_latency(model: Any, shape: tuple[int, ...], weights: Path, *, use_gpu: bool) -> Latency:
    device = torch.device("cuda:0" if use_gpu and torch.cuda.is_available() else "cpu")
    fused = model.to(device).fuse(verbose=False)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)

    def run() -> None:
        fused(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        times_ms = _times_ms(run)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({CPUInfo.name()})"
    return _latency(f"torch {torch.__version__}", name, times_ms, weights)


def _onnx_latency(weights: Path, size: int, threads: int, folder: Path) -> Latency:
    """Export a copy of the weights, because ultralytics writes next to the file, and time onnxruntime on the CPU.

    Raises:
        _UnmeasuredError: A package is missing, or the export fails.
    """
    missing = [package for package in _ONNX_PACKAGES if not _is_installed(package)]
    if missing:
        raise _UnmeasuredError(f"{' and '.join(missing)} not installed; install the extra [export]")
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="trainer-export-", dir=folder) as temporary:
        copied = Path(temporary) / "best.pt"
        shutil.copyfile(weights, copied)
        try:
            # Unsimplified, because onnxslim takes half a minute and makes no model of ours faster (docs/export.md).
            exported = Path(YOLO(copied).export(format="onnx", imgsz=size, simplify=False, device="cpu"))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
            image = np.random.default_rng(0).random(session.get_inputs()[0].shape, dtype=np.float32)
            feed = {session.get_inputs()[0].name: image}
            times_ms = _times_ms(lambda: session.run(None, feed))
            name = f"CPU ({CPUInfo.name()})"
            return _latency(f"onnxruntime {onnxruntime.__version__}", name, times_ms, exported)
        except (MemoryError, ModelError):
            raise
        except Exception as error:  # exporters and runtimes raise errors of every kind
            raise _UnmeasuredError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def _times_ms(run: Callable[[], object]) -> list[float]:
    for _ in range(_WARM_UP_RUNS):
        run()
    times_ms: list[float] = []
    deadline_s = time.perf_counter() + _LIMIT_S
    while len(times_ms) < _MOST_RUNS and (len(times_ms) < _LEAST_RUNS or time.perf_counter() < deadline_s):
        began_s = time.perf_counter()
        run()
        times_ms.append((time.perf_counter() - began_s) * 1000)
    return times_ms


def _latency(runtime: str, device: str, times_ms: list[float], file: Path) -> Latency:
    p50_ms, p95_ms = (float(value) for value in np.percentile(times_ms, (50, 95)))
    return Latency(
        runtime=runtime,
        device=device,
        p50_ms=p50_ms,
        p95_ms=p95_ms,
        runs=len(times_ms),
        warm_up_runs=_WARM_UP_RUNS,
        file_bytes=file.stat().st_size,
    )


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
