"""Selective scan in Triton for NVIDIA GPUs; pointer arithmetic follows the paths without copying the map.

If samples, groups and channels alone give too few programs to fill a GPU, each path is cut into spans that are scanned
in parallel. A first pass computes the state that every span passes on when it starts from zero. A span multiplies the
state it receives by exp(A * sum of dt). A second pass uses this to compute, span by span, the state that each one
receives, and the main pass starts from there. Backward does the same from the end. As in `_segmented`, only products of
decays <= 1 are formed.

Forward keeps the state before each chunk of a few dozen tokens; backward recomputes the states in between. There are no
atomics: sums over parts of a path or over channels are left in buffers, which torch adds up, always in the same order.
The same configuration therefore gives the same bits.
"""

import hashlib
import importlib
import math
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path as FilePath
from types import ModuleType

import torch
from torch import Tensor

from trainer.nn.selective_scan._configurations import (
    CHUNK_LENGTH,
    WARP_SIZE,
    Configuration,
    Gpu,
    Problem,
    Table,
    configuration_file,
    gpu_of,
    load,
)
from trainer.nn.selective_scan._problem import CROSS, Path, Scan, Ways
from trainer.system.cache import cache_folder
from trainer.system.once import once

TAKES_HALF = True

_LOG2_E = math.log2(math.e)
_MIN_CAPABILITY = (7, 5)


_MANY_CHANNELS = 1024
_REGISTERS = 255
"""Registers of a lane. Without this permission, ptxas takes fewer for the backward pass, and more instructions."""

FORWARD = (
    Configuration(4, 64, 16),
    Configuration(4, 64, 1),
    Configuration(8, 64, 12),
    Configuration(8, 32, 12),
)
BACKWARD = (
    Configuration(4, 64, 8),
    Configuration(4, 32, 8),
    Configuration(4, 32, 12),
    Configuration(2, 128, 8),
)
"""Candidates of `_configuration`. The default is the first one that wastes less than a warp.

Larger blocks spill registers on some GPUs. Forward, 4 tokens of 128 channels do on 10.0. Backward, where they need more
than the 255 registers of a lane, 4 tokens of 128 channels and 8 tokens of 32 channels do on all, and 8 tokens of 64
channels on 7.5, 8.0 and 12.0.
"""


def why_not(device: torch.device) -> str | None:
    """Return why Triton cannot run on `device`, or None if it can.

    Triton builds its launcher at run time and needs a C compiler and Python's headers for that. If it can run, the
    kernels are compiled here, by one process of the machine.
    """
    if device.type != "cuda" or torch.version.cuda is None:
        return "it runs on NVIDIA GPUs only"
    capability = torch.cuda.get_device_capability(device)
    if capability < _MIN_CAPABILITY:
        return "it needs compute capability 7.5, and this GPU has {}.{}".format(*capability)
    try:
        _kernels()
    except ImportError as error:
        return f"Triton cannot be imported ({error}); pip install triton"
    missing = None if os.name == "nt" else _missing_build_tool()  # Windows builds of Triton include a compiler
    if missing is None:
        with torch.cuda.device(device):
            compile_once(device)
    return missing


def states_shape(scan: Scan) -> tuple[int, ...]:
    """Return the shape of the state before each chunk: (B, K, chunks, N, D)."""
    batch, length, groups, channels = scan.delta.shape
    return batch, groups, math.ceil(length / CHUNK_LENGTH), scan.A.shape[2], channels


def forward(scan: Scan, ways: Ways, *, save_states: bool) -> tuple[Tensor, Tensor]:
    """Implement `Backend.forward`."""
    with torch.cuda.device_of(scan.u):  # type: ignore[no-untyped-call]
        return _forward(scan, ways, save_states, _configuration("forward", FORWARD, scan))


def backward(gy: Tensor, scan: Scan, ways: Ways, states: Tensor) -> Scan:
    """Implement `Backend.backward`."""
    with torch.cuda.device_of(scan.u):  # type: ignore[no-untyped-call]
        return _backward(gy, scan, ways, states, _configuration("backward", BACKWARD, scan))


def _forward(scan: Scan, ways: Ways, save_states: bool, config: Configuration) -> tuple[Tensor, Tensor]:
    kernels, job = _kernels(), _Job(scan, ways, config)
    states = scan.A.new_empty(states_shape(scan) if save_states else 0)
    y = _output_of_each_group(scan)
    carry = job.carry(scan.u, is_adjoint=False)
    kernels.output_kernel[job.grid](
        *(job.u, job.u.stride(), scan.delta, scan.delta.stride(), job.BC, job.A, job.D, job.bias),
        *(y, y.stride(), carry, states, *job.sizes),
        SAVE_STATES=save_states,
        CHUNK_LENGTH=CHUNK_LENGTH,
        **job.options,
    )
    return y.sum(2, keepdim=True) if scan.is_shared else y, states


def _backward(gy: Tensor, scan: Scan, ways: Ways, states: Tensor, config: Configuration) -> Scan:
    kernels, job = _kernels(), _Job(scan, ways, config)
    batch, length, groups, channels = scan.delta.shape
    num_states = scan.A.shape[2]
    gy = gy.expand_as(scan.delta)
    gu, gdelta = _output_of_each_group(scan), torch.empty_like(scan.delta)
    gBC = scan.A.new_empty(job.grid[0], batch, length, groups, 2 * num_states)
    gA = scan.A.new_zeros(batch, groups, job.num_spans, num_states, channels)
    gD, gbias = (scan.A.new_empty(batch, groups, job.num_spans, channels) for _ in range(2))
    block_states = scan.A.new_empty(
        batch, groups, job.num_spans, CHUNK_LENGTH // config.block_length, num_states, channels
    )
    carry = job.carry(gy, is_adjoint=True)
    kernels.gradient_kernel[job.grid](
        *(gy, gy.stride(), job.u, job.u.stride(), scan.delta, scan.delta.stride(), job.BC, job.A, job.D, job.bias),
        *(states, block_states, carry),
        *(gu, gu.stride(), gdelta, gdelta.stride(), gA, gBC, gD, gbias, *job.sizes),
        CHUNK_LENGTH=CHUNK_LENGTH,
        maxnreg=_REGISTERS,
        **job.options,
    )
    gB, gC = gBC.sum(0).chunk(2, dim=-1)
    if scan.is_shared:
        gu = gu.sum(2, keepdim=True)
    return Scan(gu, gdelta, gA.sum((0, 2)).transpose(1, 2), gB, gC, gD.sum((0, 2)), gbias.sum((0, 2)))


class _Job:
    """Arguments that the kernels of one call share."""

    def __init__(self, scan: Scan, ways: Ways, config: Configuration) -> None:
        batch, length, groups, channels = scan.delta.shape
        self._scan = scan
        self.u = scan.u.expand_as(scan.delta)
        self.BC = torch.cat((scan.B, scan.C), dim=-1).contiguous()  # cat may keep another memory format
        self.A = (scan.A.transpose(1, 2) * _LOG2_E).contiguous()
        self.D, self.bias = scan.D.contiguous(), scan.bias.contiguous()

        channel_blocks = math.ceil(channels / config.block_channels)
        wanted_programs = config.warps_per_processor * _num_multiprocessors(scan.u.device)
        span_length = _span_length(length, wanted_programs, channel_blocks * groups * batch)
        self.num_spans = math.ceil(length / span_length)
        self.grid = (channel_blocks, self.num_spans, batch * groups)
        columns = _bits(ways, {Path.COLUMNS, Path.COLUMNS_BACKWARDS})
        backwards = _bits(ways, {Path.ROWS_BACKWARDS, Path.COLUMNS_BACKWARDS})
        self.sizes = (groups, scan.A.shape[2], channels, length, ways.width, columns, backwards, span_length)
        self.options: dict[str, int] = {
            "BLOCK_LENGTH": config.block_length,
            "BLOCK_CHANNELS": config.block_channels,
            "num_warps": 1,
        }

    def carry(self, x: Tensor, *, is_adjoint: bool) -> Tensor:
        """Compute the state each span receives from the previous span (for adjoints, the next): (B, K, spans, N, D)."""
        scan = self._scan
        batch, _, groups, channels = scan.delta.shape
        carry = scan.A.new_zeros(batch, groups, self.num_spans, scan.A.shape[2], channels)
        if self.num_spans == 1:
            return carry
        x = x.expand_as(scan.delta)
        total_dt = scan.A.new_empty(batch, groups, self.num_spans, channels)
        kernels = _kernels()
        kernels.carry_kernel[self.grid](
            *(x, x.stride(), scan.delta, scan.delta.stride(), self.BC, self.A, self.bias),
            *(carry, total_dt, *self.sizes),
            ADJOINT=is_adjoint,
            **self.options,
        )
        kernels.link_kernel[(math.ceil(channels / WARP_SIZE), scan.A.shape[2], batch * groups)](
            *(carry, total_dt, self.A, groups, scan.A.shape[2], channels, self.num_spans),
            ADJOINT=is_adjoint,
            BLOCK_CHANNELS=WARP_SIZE,
            num_warps=1,
        )
        return carry


def _span_length(length: int, wanted_programs: int, programs_per_span: int) -> int:
    """Return the span length in whole chunks: the fewest spans that give `wanted_programs` programs, if possible."""
    num_chunks = math.ceil(length / CHUNK_LENGTH)
    num_spans = min(num_chunks, math.ceil(wanted_programs / programs_per_span))
    return math.ceil(num_chunks / num_spans) * CHUNK_LENGTH


def _bits(ways: Ways, paths: set[Path]) -> int:
    """Return a bit mask: bit k is set if group k follows one of `paths`."""
    return sum(1 << k for k, path in enumerate(ways.paths) if path in paths)


def _num_multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def _output_of_each_group(scan: Scan) -> Tensor:
    """Allocate a float32 result (B, L, K, D), with the layout of u if every group has its own u."""
    like = scan.delta if scan.is_shared else scan.u
    return torch.empty_like(like, dtype=torch.float32)


def runs(
    gy: Tensor, scan: Scan, ways: Ways, states: Tensor
) -> Iterator[tuple[Problem, Sequence[Configuration], Callable[[Configuration], object]]]:
    """Yield the forward and the backward pass of a scan: the kind of problem, the candidates, and how to run one."""
    forward_pass, backward_pass = partial(_forward, scan, ways, True), partial(_backward, gy, scan, ways, states)
    yield _problem("forward", scan), _candidates(FORWARD, scan.delta.shape[3]), forward_pass
    yield _problem("backward", scan), _candidates(BACKWARD, scan.delta.shape[3]), backward_pass


def _configuration(direction: str, candidates: Sequence[Configuration], scan: Scan) -> Configuration:
    """Return the configuration for this kind of problem: that of the file, or else the default.

    Nothing is measured here: each process of a search would compile all candidates first, and different ones could win
    in different processes.
    """
    tuned = _table(scan.u.device).get(_problem(direction, scan)) if scan.u.is_cuda else None
    return tuned or _candidates(candidates, scan.delta.shape[3])[0]


def _candidates(candidates: Sequence[Configuration], channels: int) -> list[Configuration]:
    """Return those that waste less than a warp; the default is the first one."""
    return [config for config in candidates if config.block_channels < channels + WARP_SIZE]


def _problem(direction: str, scan: Scan) -> Problem:
    batch, length, groups, channels = scan.delta.shape
    u_type, delta_type = (str(x.dtype).removeprefix("torch.") for x in (scan.u, scan.delta))
    return Problem(direction, u_type, delta_type, (batch * groups).bit_length(), length.bit_length(), channels)


@cache
def _gpu(device: torch.device) -> Gpu:
    return gpu_of(device)


def _table(device: torch.device) -> Table:
    return load(configuration_file(), _gpu(device))


def milliseconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the shortest GPU time in milliseconds, after a first call that compiles."""
    call()
    times: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return min(times)


def compile_once(device: torch.device) -> None:
    """Compile the kernels of all default and tuned configurations, unless Triton's cache on the disk has them.

    The processes of a machine share that cache. If several start together, one compiles and the others wait.
    """
    tuned = _table(device)
    forwards, backwards = (
        _different_code(
            [
                *(_candidates(defaults, channels)[0] for channels in (WARP_SIZE, _MANY_CHANNELS)),
                *(config for problem, config in tuned.items() if problem.direction == direction),
            ]
        )
        for direction, defaults in (("forward", FORWARD), ("backward", BACKWARD))
    )
    source = FilePath(__file__).with_name("_triton_kernels.py").read_bytes()
    parts = (source, repr((_gpu(device), forwards, backwards, CHUNK_LENGTH)).encode())
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    folder = FilePath(os.environ.get("TRITON_CACHE_DIR") or cache_folder() / "triton")
    once(folder / f"selective-scan-{key}", lambda: launch_all(device, forwards, backwards))


def launch_all(device: torch.device, forwards: Sequence[Configuration], backwards: Sequence[Configuration]) -> None:
    """Launch each kernel of these configurations on small maps, in every variant that training and validation use."""
    for config in forwards:
        scan, ways = _small_map(device, config.block_channels)
        for saves in (True, False):
            _forward(scan, ways, saves, config)
    for config in backwards:
        scan, ways = _small_map(device, config.block_channels)
        states = scan.A.new_zeros(states_shape(scan))
        _backward(torch.zeros_like(scan.u), scan, ways, states, config)


def _small_map(device: torch.device, channels: int) -> tuple[Scan, Ways]:
    """Return a map of zeros that is cut into spans, with the alignment of SS2D's maps."""
    length, groups, states = 2 * CHUNK_LENGTH + 1, len(CROSS), 16

    def zeros(*sizes: int) -> Tensor:
        return torch.zeros(1, *sizes, device=device)

    scan = Scan(
        u=zeros(length, 1, channels),
        delta=zeros(length, groups, channels),
        A=zeros(groups, channels, states)[0],
        B=zeros(length, groups, states),
        C=zeros(length, groups, states),
        D=zeros(groups, channels)[0],
        bias=zeros(groups, channels)[0],
    )
    return scan, Ways(length, CROSS)


def _different_code(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Return one of all configurations that share their compiled kernels."""
    return list({(config.block_length, config.block_channels): config for config in configurations}.values())


def _missing_build_tool() -> str | None:
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler to build its launcher; on Debian and Ubuntu: apt-get install gcc"
    if not (FilePath(sysconfig.get_path("include")) / "Python.h").exists():
        return "Triton needs Python's headers to build its launcher; on Debian and Ubuntu: apt-get install python3-dev"
    return None


def _kernels() -> ModuleType:
    """Import the kernels when they are first needed: not every machine has Triton."""
    return importlib.import_module("trainer.nn.selective_scan._triton_kernels")
