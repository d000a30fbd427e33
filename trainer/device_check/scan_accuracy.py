"""Compare each selective scan with plain torch in float64, on maps from one pixel to 320 x 320."""

import torch
from torch import Tensor

from trainer.device_check.cases import CrossScan, Inputs, Map, inputs, relative_error, scans_on
from trainer.nn.selective_scan import cross_selective_scan
from tuner.contract import DeviceCheckRecord, ParamValue, Table

_MAPS = (Map(1, 64), Map(35, 64, batch=2), Map(20, 512, batch=2), Map(40, 256, batch=16), Map(160, 64), Map(320, 64))
"""One token, a map that no block size divides, maps of Mamba-YOLO-T at 640 pixels, one of them with the batch that
configurations are tuned for, and 102,400 tokens."""
_SMALL_MAPS = (Map(1, 8), Map(7, 24))

_OUTPUT_LIMIT = 1e-4
_GRADIENT_LIMITS = {torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
"""Largest errors. The output is float32 whatever the inputs are; gradients are rounded to the type of their input."""


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Compare output and gradients of each implementation that works, for inputs in float32, float16 and bfloat16."""
    scans, notes = scans_on(device)
    rows: list[dict[str, ParamValue]] = []
    problems = []
    for shape in _SMALL_MAPS if small else _MAPS:
        for dtype, limit in _GRADIENT_LIMITS.items():
            given, gy = inputs(shape, device, dtype)
            exact = _computed(cross_selective_scan, given.to(torch.float64, needs_gradient=True), gy.double())
            for name, scan in scans.items():
                leaves = Inputs(*(x.detach().requires_grad_() for x in given))
                output, *gradients = _computed(scan, leaves, gy)
                errors = relative_error([output], exact[:1]), relative_error(gradients, exact[1:])
                is_right = errors[0] <= _OUTPUT_LIMIT and errors[1] <= limit
                rows.append(
                    {
                        "scan": name,
                        "map": str(shape),
                        "type": _name(dtype),
                        "output_error": errors[0],
                        "gradient_error": errors[1],
                        "right": is_right,
                    }
                )
                if not is_right:
                    problems.append(
                        f"the selective scan '{name}' is wrong on a map of {shape} in {_name(dtype)}: its errors "
                        f"are {errors[0]:.1e} (limit {_OUTPUT_LIMIT:.0e}) and {errors[1]:.1e} (limit {limit:.0e})"
                    )
    table = Table(title="Largest errors against float64, relative to the largest entry", rows=tuple(rows))
    return DeviceCheckRecord(tables=(table,), notes=tuple(notes), problems=tuple(problems))


def _computed(scan: CrossScan, leaves: Inputs, gy: Tensor) -> list[Tensor]:
    """Return the output and the gradients of all arguments."""
    y = scan(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, gy)]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
