"""Time, memory and accuracy of every selective scan that works on a device, measured in isolation.

Usage: python benchmarks/scan.py [--training float32] [--device cuda] [--threads 1 2] [--json scan.json]

Without --training, plain sequences are scanned. With it, the scans do what training asks of them: they scan maps along
four paths from low-rank time steps, in torch's deterministic mode. `--training amp` adds what SS2D does under autocast:
it converts its half-precision input for the scan, and the output back.
"""

import argparse
import math
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks import contestants, report
from benchmarks.contestants import PSCAN, PUBLISHED_LOOP
from benchmarks.crossed import along_four_paths, cross_scans
from benchmarks.measuring import Work, durations_s, median_ms, num_threads, peak_bytes
from trainer.device_check.mode import torch_mode
from trainer.nn.precision import accurate_dtype, no_autocast
from trainer.nn.selective_scan import selective_scan_reference

FORWARD = "forward"
FORWARD_BACKWARD = "forward and backward"
TENSORS = ("y", "u", "delta", "A", "B", "C", "D", "delta_bias", "dt_weight")
"""The output and the arguments; plain sequences have no `dt_weight`."""

FLOAT32, AMP = "float32", "amp"

_CHANNELS_PER_RANK = 32

# The loop's backward takes 3 s at 400 tokens and grows with the square of the length beyond that.
_LOOP_BACKWARD_MAX_LENGTH = 400


@dataclass(frozen=True)
class Shape:
    batch: int
    groups: int
    channels: int
    """of a group"""
    height: int
    width: int
    states: int = 16

    @property
    def length(self) -> int:
        """Tokens of a path."""
        return self.height * self.width

    def __str__(self) -> str:
        rows = f"K {self.groups} x D {self.channels}"
        return f"B {self.batch}, {rows}, N {self.states}, L {self.length:,}"


SHAPES = {
    "tiny": Shape(batch=1, groups=4, channels=4, height=4, width=8),
    "S1": Shape(batch=2, groups=4, channels=64, height=20, width=20),
    "S2": Shape(batch=2, groups=4, channels=32, height=40, width=40),
    "S3": Shape(batch=1, groups=4, channels=64, height=80, width=80),
}
"""Maps of Mamba-YOLO; the tiny one is for trying out the script."""

Scan = Callable[..., Tensor]


@dataclass(frozen=True)
class Setting:
    """A kind of scan to measure, and the device."""

    device: torch.device
    training: str | None
    """Precision of the training whose scan is measured: `float32` or `amp`; None for plain sequences."""

    def scans(self) -> tuple[Mapping[str, Scan], dict[str, str]]:
        """Return the scans by name, and the reason for each missing one."""
        if self.training is None:
            ours, unavailable = contestants.ours(self.device)
            others, missing = contestants.others()
            return {**ours, **others}, {**unavailable, **missing}
        scans, skipped = cross_scans(self.device)
        return {name: partial(_as_in_ss2d, scan) for name, scan in scans.items()}, skipped

    def reference(self) -> Scan:
        """Return the loop to compare with; it computes in float64 if its arguments are float64."""
        return selective_scan_reference if self.training is None else along_four_paths(selective_scan_reference)

    def inputs(self, shape: Shape) -> tuple[list[Tensor], Tensor]:
        """Make the arguments as a new Mamba-YOLO does, and a gradient of the output."""
        tensors, gy = _sequences(shape) if self.training is None else _map(shape)
        if self.training == AMP:
            tensors[0], gy = (x.to(self._half) for x in (tensors[0], gy))
        return [x.to(self.device).requires_grad_() for x in tensors], gy.to(self.device)

    def mode(self) -> AbstractContextManager[None]:
        """Let torch be deterministic if training is measured, because runs are by default."""
        return torch_mode(deterministic=self.training is not None)

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass."""
        return torch.autocast(self.device.type, self._half, enabled=self.training == AMP)

    @property
    def _half(self) -> torch.dtype:
        return torch.float16 if self.device.type == "cuda" else torch.bfloat16


@dataclass(frozen=True)
class Timing:
    shape: str
    contestant: str
    measure: str
    threads: int
    median_ms: float
    seconds: list[float]


@dataclass(frozen=True)
class Memory:
    shape: str
    contestant: str
    measure: str
    peak_bytes: int


@dataclass(frozen=True)
class Accuracy:
    """Largest error of a tensor's entries, relative to its largest entry, against the loop in float64."""

    shape: str
    contestant: str
    tensor: str
    """`y`, or the argument that the gradient belongs to"""
    relative_error: float


def main() -> None:
    options = _options()
    setting = Setting(options.device, options.training)
    scans, skipped = setting.scans()
    facts = report.environment(setting.device)
    report.say_environment(facts)
    report.say_skipped(skipped)
    timings: list[Timing] = []
    memory: list[Memory] = []
    accuracy: list[Accuracy] = []
    threads = options.threads or _default_threads(setting.device)
    for name in options.shapes:
        with setting.mode():
            accuracy += _accuracy(name, scans, setting)
            memory += _memory(name, scans, setting)
            timings += _timings(name, scans, setting, threads, options.repeats)
        report.say(f"{name}: {SHAPES[name]}")
        report.say(_table(name, timings, memory, accuracy))
    values = {
        "environment": facts,
        "training": setting.training,
        "skipped": skipped,
        "shapes": {name: asdict(SHAPES[name]) for name in options.shapes},
        "timings": [asdict(x) for x in timings],
        "memory": [asdict(x) for x in memory],
        "accuracy": [asdict(x) for x in accuracy],
    }
    report.write_json(options.json, values)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["S1", "S2", "S3"])
    parser.add_argument("--training", choices=[FLOAT32, AMP], help="scan maps as training does, in this precision")
    report.add_options(parser, repeats=9)
    return parser.parse_args()


def _default_threads(device: torch.device) -> list[int]:
    every = torch.get_num_threads()
    return sorted({1, every}) if device.type == "cpu" else [every]


def _sequences(shape: Shape) -> tuple[list[Tensor], Tensor]:
    """Make the seven arguments of a plain scan, and a gradient of its output."""
    generator = torch.Generator().manual_seed(0)
    rows = shape.groups * shape.channels

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    u, delta, gy = (normal(shape.batch, rows, shape.length) for _ in range(3))
    A, D, delta_bias = -torch.ones(rows, shape.states), torch.ones(rows), normal(rows)
    B, C = (normal(shape.batch, shape.groups, shape.states, shape.length) for _ in range(2))
    return [u, delta, A, B, C, D, delta_bias], gy


def _map(shape: Shape) -> tuple[list[Tensor], Tensor]:
    """Make the eight arguments of a crossed scan, and a gradient of its output.

    As in SS2D, one projection holds the low-rank time steps, B and C of a pixel next to each other.
    """
    generator = torch.Generator().manual_seed(0)
    pixels, paths = (shape.batch, shape.height, shape.width), (shape.groups, shape.channels)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    u, gy = (normal(*pixels, shape.channels) for _ in range(2))
    rank = math.ceil(shape.channels / _CHANNELS_PER_RANK)
    projected = normal(*pixels, shape.groups, rank + 2 * shape.states)
    low_rank, B, C = torch.split(projected, [rank, shape.states, shape.states], dim=-1)
    A, D, delta_bias = -torch.ones(*paths, shape.states), torch.ones(paths), normal(*paths)
    return [u, low_rank, A, B, C, D, delta_bias, normal(*paths, rank)], gy


def _as_in_ss2d(scan: Scan, u: Tensor, *others: Tensor) -> Tensor:
    """Scan in float32, whatever the type of the map; the output has that type."""
    with no_autocast(u):
        return scan(u.to(accurate_dtype(u)), *others).to(u.dtype)


def _forward(scan: Scan, setting: Setting, tensors: list[Tensor]) -> Tensor:
    with setting.autocast(), torch.no_grad():
        return scan(*tensors)


def _forward_backward(scan: Scan, setting: Setting, tensors: list[Tensor], gy: Tensor) -> list[Tensor]:
    """Return the output and the gradients of all arguments."""
    with setting.autocast():
        y = scan(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, gy)]


def _works(scans: Mapping[str, Scan], shape: Shape, setting: Setting) -> Iterator[tuple[str, dict[str, Work]]]:
    """Yield the measures at a shape with the contestants' work for each."""
    tensors, gy = setting.inputs(shape)
    yield FORWARD, {name: partial(_forward, scan, setting, tensors) for name, scan in scans.items()}
    feasible = {name: scan for name, scan in scans.items() if _has_backward(name, shape)}
    yield (
        FORWARD_BACKWARD,
        {name: partial(_forward_backward, scan, setting, tensors, gy) for name, scan in feasible.items()},
    )


def _has_backward(name: str, shape: Shape) -> bool:
    return name != PUBLISHED_LOOP or shape.length <= _LOOP_BACKWARD_MAX_LENGTH


def _accuracy(shape: str, scans: Mapping[str, Scan], setting: Setting) -> list[Accuracy]:
    tensors, gy = setting.inputs(SHAPES[shape])
    exact = [x.detach().double().requires_grad_() for x in tensors]
    expected = _forward_backward(setting.reference(), setting, exact, gy.double())
    found = []
    for name, scan in scans.items():
        has_backward = _has_backward(name, SHAPES[shape])
        got = _forward_backward(scan, setting, tensors, gy) if has_backward else [_forward(scan, setting, tensors)]
        for tensor, value, right in zip(TENSORS, got, expected, strict=False):
            error = (value.double() - right).abs().max() / right.abs().max()
            found.append(Accuracy(shape, name, tensor, error.item()))
    return found


def _timings(shape: str, scans: Mapping[str, Scan], setting: Setting, threads: list[int], repeats: int) -> list[Timing]:
    found = []
    for number in threads:
        with num_threads(number):
            for measure, works in _works(scans, SHAPES[shape], setting):
                for name, seconds in durations_s(works, setting.device, repeats).items():
                    found.append(Timing(shape, name, measure, number, median_ms(seconds), seconds))
    return found


def _memory(shape: str, scans: Mapping[str, Scan], setting: Setting) -> list[Memory]:
    if setting.device.type != "cpu":
        return [memory for name in scans for memory in _memory_of(shape, name, setting)]
    # A fresh process for each contestant: leftovers of others in this process would distort the results.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.contestants"])
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as fresh_process:
        futures = [fresh_process.submit(_memory_of, shape, name, setting) for name in scans]
        return [memory for future in futures for memory in future.result()]


def _memory_of(shape: str, name: str, setting: Setting) -> list[Memory]:
    scan = {name: setting.scans()[0][name]}
    with setting.mode():
        for _, works in _works(scan, SHAPES["tiny"], setting):
            works[name]()  # loads and compiles what it needs
        return [
            Memory(shape, name, measure, peak_bytes(works[name], setting.device))
            for measure, works in _works(scan, SHAPES[shape], setting)
            if name in works
        ]


def _table(shape: str, timings: list[Timing], memory: list[Memory], accuracy: list[Accuracy]) -> str:
    """Format a row for each contestant and number of threads."""
    ms = {(x.contestant, x.threads, x.measure): x.median_ms for x in timings if x.shape == shape}
    peaks = {(x.contestant, x.measure): x.peak_bytes for x in memory if x.shape == shape}
    errors = {(x.contestant, x.tensor): x.relative_error for x in accuracy if x.shape == shape}
    threads = sorted({number for _, number, _ in ms})
    headers = ["scan", "threads"]
    for measure in (FORWARD, FORWARD_BACKWARD):
        headers += [f"{measure}, ms", "speed against pscan", f"against {threads[0]} thr.", "peak MB"]
    headers += ["error of y", "worst gradient's"]
    rows = []
    for name in dict.fromkeys(name for name, _, _ in ms):
        for number in threads:
            row = [name, str(number)]
            for measure in (FORWARD, FORWARD_BACKWARD):
                own = ms.get((name, number, measure))
                row += [
                    "-" if own is None else f"{own:.1f}",
                    report.times(ms.get((PSCAN, number, measure)), own),
                    report.times(ms.get((name, threads[0], measure)), own),
                    f"{peaks[name, measure] / 1e6:.1f}" if (name, measure) in peaks else "-",
                ]
            gradients = [errors[name, tensor] for tensor in TENSORS[1:] if (name, tensor) in errors]
            row += [f"{errors[name, 'y']:.0e}", f"{max(gradients):.0e}" if gradients else "-"]
            rows.append(row)
    return report.table(headers, rows)


if __name__ == "__main__":
    main()
