"""Time all configurations of the Triton kernels on Mamba-YOLO's maps, and keep the fastest for later runs."""

import torch

from trainer.device_check.cases import scans_on
from trainer.nn.selective_scan import tuning
from trainer.nn.selective_scan.tuning import Configuration, MapShape, Problem
from tuner.contract import DeviceCheckRecord, ParamValue, Table

SIDES_AND_CHANNELS = (
    *((160, 32), (80, 64), (40, 128), (20, 128)),
    *((160, 64), (80, 128), (40, 256), (20, 512)),
    *((160, 128), (80, 256), (40, 512), (20, 1024)),
    *((160, 192), (80, 384), (40, 768), (20, 1152)),
)
"""Side in pixels and inner channels of the maps that N, T, B and L scan at 640 pixels, one model a line."""

_BATCH = 16


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Time the configurations on a GPU; there is nothing to tune where Triton does not run."""
    if device.type != "cuda":
        return DeviceCheckRecord(tables=(), notes=("only the Triton scan of GPUs has configurations to choose from",))
    scans, notes = scans_on(device)
    if "triton" not in scans:
        return DeviceCheckRecord(tables=(), notes=tuple(notes))
    times: dict[tuple[Problem, Configuration], float] = {}

    def note(problem: Problem, config: Configuration, ms: float) -> None:
        times[problem, config] = ms

    shapes = [MapShape(_BATCH, side, side, channels) for side, channels in SIDES_AND_CHANNELS]
    table = tuning.tune(device, shapes, on_time=note)
    path = tuning.configuration_file()
    try:
        tuning.save(path, tuning.gpu_of(device), table)
        notes = [f"kept for all later runs on GPUs of this kind: {path}"]
    except OSError as error:
        notes = [f"the configurations could not be kept: {error}"]
    rows = tuple(_row(problem, config, ms, kept=table[problem] == config) for (problem, config), ms in times.items())
    title = f"Configurations of the Triton kernels, batch {_BATCH} at 640 pixels"
    return DeviceCheckRecord(tables=(Table(title=title, rows=rows),), notes=tuple(notes))


def _row(problem: Problem, config: Configuration, ms: float, *, kept: bool) -> dict[str, ParamValue]:
    return {
        "pass": problem.direction,
        "length_bits": problem.length_bits,
        "channels": problem.channels,
        "block_length": config.block_length,
        "block_channels": config.block_channels,
        "warps_per_processor": config.warps_per_processor,
        "ms": ms,
        "kept": kept,
    }
