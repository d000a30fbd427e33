"""Time, memory and accuracy of every selective scan that works on a device, measured in isolation.

Usage: python benchmarks/scan.py [--device cuda] [--threads 1 2] [--json scan.json]
"""

import argparse
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks import contestants, report
from benchmarks.contestants import PSCAN, PUBLISHED_LOOP, SelectiveScan
from benchmarks.measuring import Work, durations_s, median_ms, num_threads, peak_bytes
from trainer.nn.selective_scan import selective_scan_reference

FORWARD = "forward"
FORWARD_BACKWARD = "forward and backward"
TENSORS = ("y", "u", "delta", "A", "B", "C", "D", "delta_bias")

# The loop's backward takes 3 s at 400 tokens and grows with the square of the length beyond that.
_LOOP_BACKWARD_MAX_LENGTH = 400


@dataclass(frozen=True)
class Shape:
    batch: int
    groups: int
    channels: int
    """of a group"""
    length: int
    states: int = 16

    def __str__(self) -> str:
        rows = f"K {self.groups} x D {self.channels}"
        return f"B {self.batch}, {rows}, N {self.states}, L {self.length:,}"


SHAPES = {
    "tiny": Shape(batch=1, groups=4, channels=4, length=32),
    "S1": Shape(batch=2, groups=4, channels=64, length=400),
    "S2": Shape(batch=2, groups=4, channels=32, length=1600),
    "S3": Shape(batch=1, groups=4, channels=64, length=6400),
}
"""Maps of Mamba-YOLO: 20 x 20, 40 x 40 and 80 x 80; the tiny one is for trying out the script."""


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
    device: torch.device = options.device
    our_scans, unavailable = contestants.ours(device)
    other_scans, missing = contestants.others()
    scans, skipped = {**our_scans, **other_scans}, {**unavailable, **missing}

    facts = report.environment(device)
    report.say_environment(facts)
    report.say_skipped(skipped)
    timings: list[Timing] = []
    memory: list[Memory] = []
    accuracy: list[Accuracy] = []
    for name in options.shapes:
        accuracy += _accuracy(name, scans, device)
        memory += _memory(name, scans, device)
        timings += _timings(name, scans, device, options.threads or _default_threads(device), options.repeats)
        report.say(f"{name}: {SHAPES[name]}")
        report.say(_table(name, timings, memory, accuracy))
    values = {
        "environment": facts,
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
    report.add_options(parser, repeats=9)
    return parser.parse_args()


def _default_threads(device: torch.device) -> list[int]:
    every = torch.get_num_threads()
    return sorted({1, every}) if device.type == "cpu" else [every]


def _inputs(shape: Shape, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Make the seven arguments as a new Mamba-YOLO does, and a gradient of the output."""
    generator = torch.Generator().manual_seed(0)
    rows = shape.groups * shape.channels

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    u, delta, gy = (normal(shape.batch, rows, shape.length) for _ in range(3))
    A, D, delta_bias = -torch.ones(rows, shape.states), torch.ones(rows), normal(rows)
    B, C = (normal(shape.batch, shape.groups, shape.states, shape.length) for _ in range(2))
    return [x.to(device).requires_grad_() for x in (u, delta, A, B, C, D, delta_bias)], gy.to(device)


def _forward(scan: Callable[..., Tensor], tensors: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return scan(*tensors)


def _forward_backward(scan: Callable[..., Tensor], tensors: list[Tensor], gy: Tensor) -> list[Tensor]:
    """Return the output and the gradients of all seven arguments."""
    y = scan(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, gy)]


def _works(
    scans: dict[str, SelectiveScan], shape: Shape, device: torch.device
) -> Iterator[tuple[str, dict[str, Work]]]:
    """Yield the measures at a shape with the contestants' work for each."""
    tensors, gy = _inputs(shape, device)
    yield FORWARD, {name: partial(_forward, scan, tensors) for name, scan in scans.items()}
    feasible = {name: scan for name, scan in scans.items() if _has_backward(name, shape)}
    yield FORWARD_BACKWARD, {name: partial(_forward_backward, scan, tensors, gy) for name, scan in feasible.items()}


def _has_backward(name: str, shape: Shape) -> bool:
    return name != PUBLISHED_LOOP or shape.length <= _LOOP_BACKWARD_MAX_LENGTH


def _accuracy(shape: str, scans: dict[str, SelectiveScan], device: torch.device) -> list[Accuracy]:
    tensors, gy = _inputs(SHAPES[shape], device)
    expected = _forward_backward(selective_scan_reference, tensors, gy.double())
    found = []
    for name, scan in scans.items():
        has_backward = _has_backward(name, SHAPES[shape])
        got = _forward_backward(scan, tensors, gy) if has_backward else [_forward(scan, tensors)]
        for tensor, value, right in zip(TENSORS, got, expected, strict=False):
            error = (value.double() - right).abs().max() / right.abs().max()
            found.append(Accuracy(shape, name, tensor, error.item()))
    return found


def _timings(
    shape: str, scans: dict[str, SelectiveScan], device: torch.device, threads: list[int], repeats: int
) -> list[Timing]:
    found = []
    for number in threads:
        with num_threads(number):
            for measure, works in _works(scans, SHAPES[shape], device):
                for name, seconds in durations_s(works, device, repeats).items():
                    found.append(Timing(shape, name, measure, number, median_ms(seconds), seconds))
    return found


def _memory(shape: str, scans: dict[str, SelectiveScan], device: torch.device) -> list[Memory]:
    if device.type != "cpu":
        return [memory for name in scans for memory in _memory_of(shape, name, device)]
    # A fresh process for each contestant: leftovers of others in this process would distort the results.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.contestants"])
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as fresh_process:
        futures = [fresh_process.submit(_memory_of, shape, name, device) for name in scans]
        return [memory for future in futures for memory in future.result()]


def _memory_of(shape: str, name: str, device: torch.device) -> list[Memory]:
    scan = {name: {**contestants.ours(device)[0], **contestants.others()[0]}[name]}
    for _, works in _works(scan, SHAPES["tiny"], device):
        works[name]()  # loads and compiles what it needs
    return [
        Memory(shape, name, measure, peak_bytes(works[name], device))
        for measure, works in _works(scan, SHAPES[shape], device)
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
