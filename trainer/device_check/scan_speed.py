"""Time each selective scan on the maps of Mamba-YOLO-T, and compare it with the time to read and write its data."""

import torch
from torch import Tensor

from trainer.device_check.cases import CrossScan, Inputs, Map, inputs, scans_on
from trainer.device_check.timing import median_ms
from trainer.exceptions import TrainerError
from trainer.nn.selective_scan import described
from tuner.contract import DeviceCheckRecord, ParamValue, Table

_MAPS = (Map(160, 64, batch=16), Map(80, 128, batch=16), Map(40, 256, batch=16), Map(20, 512, batch=16))
_SMALL_MAPS = (Map(20, 32),)

_COPIED_BYTES = 2**29
_SMALL_COPIED_BYTES = 2**26


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Time forward and backward of each implementation that works on the device."""
    scans, notes = scans_on(device)
    bandwidth = _bytes_per_ms(device, _SMALL_COPIED_BYTES if small else _COPIED_BYTES)
    rows = []
    for shape in _SMALL_MAPS if small else _MAPS:
        given, gy = inputs(shape, device, torch.float32)
        for name, scan in scans.items():
            rows.append({"scan": name, "map": str(shape), **_timed(scan, given, gy, device, bandwidth)})
    tables = (
        Table(title="Forward and backward in float32, and the share of the memory's speed", rows=tuple(rows)),
        Table(title="Memory", rows=({"copied_gb_per_s": bandwidth / 1e6},)),
    )
    try:
        notes.insert(0, f"training uses: {described(str(device))}")
    except TrainerError as error:
        return DeviceCheckRecord(tables=tables, notes=tuple(notes), problems=(str(error),))
    return DeviceCheckRecord(tables=tables, notes=tuple(notes))


def _timed(scan: CrossScan, given: Inputs, gy: Tensor, device: torch.device, bandwidth: float) -> dict[str, ParamValue]:
    """Return times in milliseconds, and how much of the time is needed to read the inputs and write the results."""
    leaves = given.to(torch.float32, needs_gradient=True)

    def infer() -> None:
        with torch.no_grad():
            scan(*given)

    def train() -> None:
        torch.autograd.grad(scan(*leaves), leaves, gy)

    forward_ms = median_ms(infer, device)
    both_ms = median_ms(train, device)
    read_bytes = sum(x.nbytes for x in given)
    forward_bytes = read_bytes + gy.nbytes
    both_bytes = forward_bytes + gy.nbytes + 2 * read_bytes  # backward reads all again and writes as many gradients
    return {
        "forward_ms": forward_ms,
        "forward_share": forward_bytes / bandwidth / forward_ms,
        "training_ms": both_ms,
        "training_share": both_bytes / bandwidth / both_ms,
    }


def _bytes_per_ms(device: torch.device, size: int) -> float:
    """Measure how fast a tensor is copied: bytes read and written per millisecond."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / median_ms(lambda: target.copy_(source), device)
