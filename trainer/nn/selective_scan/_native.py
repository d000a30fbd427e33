"""Selective scan in C for CPUs, built with the system's compiler at first use, in about a second.

The library does not depend on torch, so one build serves every version of it. It is stored in a cache folder under a
name derived from the source, the flags, the compiler and the processor, because it is compiled for exactly this
processor and machines may share a home folder.
"""

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.nn.selective_scan._problem import Scan, Ways
from trainer.system.cache import cache_folder

TAKES_HALF = False

_SOURCE = Path(__file__).with_name("_native.c")
_COMPILERS = ("cc", "gcc", "clang")
# The gains of -ffast-math here without its damage: NaN and infinity keep their meaning.
_FLAGS = (
    *("-std=gnu11", "-O3", "-march=native", "-fopenmp", "-fPIC", "-shared"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
)
_BUILD_TIMEOUT_S = 120
# Target number of backward tasks. Each group's channels are split into parts to reach it, so that several threads have
# work. The split depends on the shapes alone: sums are formed in the same order for any number of threads.
_WANTED_TASKS = 8


def why_not(device: torch.device) -> str | None:
    """Build and load the library on first use, and return why that is impossible, or None."""
    if device.type != "cpu":
        return "it runs on CPUs only"
    if _compiler() is None:
        return "no C compiler was found; on Debian and Ubuntu: apt-get install gcc"
    _library()
    return None


def states_shape(scan: Scan) -> tuple[int, ...]:
    """Return the shape of the state before each segment: (B, K, segments, N, D)."""
    batch, length, groups, channels = scan.delta.shape
    return batch, groups, -(-length // _tokens()), scan.A.shape[2], channels


def forward(scan: Scan, ways: Ways, *, save_states: bool) -> tuple[Tensor, Tensor]:
    """Implement `Backend.forward`; every tensor is float32."""
    y = torch.empty_like(scan.u)
    states = scan.u.new_empty(states_shape(scan) if save_states else 0)
    call = _Call(scan, ways, y, states if save_states else None)
    call.run(_library().selective_scan_forward)
    return y, states


def backward(gy: Tensor, scan: Scan, ways: Ways, states: Tensor) -> Scan:
    """Implement `Backend.backward`."""
    batch, _, groups, channels = scan.delta.shape
    num_states = scan.A.shape[2]
    call = _Call(scan, ways, gy, states)
    gu, gdelta = torch.empty_like(scan.u), torch.empty_like(scan.delta)
    gB, gC = (_stacked(call.num_parts, x) for x in (scan.B, scan.C))
    gA = scan.u.new_empty(batch, groups, channels, num_states)
    gD, gbias = (scan.u.new_empty(batch, groups, channels) for _ in range(2))
    call.set_gradients(gu, gdelta, gB, gC, gA, gD, gbias)
    call.run(_library().selective_scan_backward)
    return Scan(gu, gdelta, gA.sum(0), _summed(gB), _summed(gC), gD.sum(0), gbias.sum(0))


class _Strides(ctypes.Structure):
    """`Strides` of _native.c."""

    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "token", "group", "last")]


class _Arguments(ctypes.Structure):
    """`Scan` of _native.c."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in ("batch", "length", "groups", "channels", "states", "width", "is_shared", "num_parts")
        ),
        ("num_threads", ctypes.c_int64),
        ("paths", ctypes.POINTER(ctypes.c_int64)),
        *((name, ctypes.c_void_p) for name in ("u", "delta", "A", "B", "C", "D", "bias")),
        *((f"{name}_strides", _Strides) for name in ("u", "delta", "B", "C")),
        ("y", ctypes.c_void_p),
        ("y_strides", _Strides),
        ("saved", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("gu", "gdelta", "gB", "gC")),
        *((f"{name}_strides", _Strides) for name in ("gu", "gdelta", "gB", "gC")),
        *((f"{name}_part", ctypes.c_int64) for name in ("gB", "gC")),
        *((name, ctypes.c_void_p) for name in ("gA", "gD", "gbias")),
    ]


class _Call:
    """Arguments of one call into the library, and the tensors that they point into."""

    def __init__(self, scan: Scan, ways: Ways, y: Tensor, states: Tensor | None) -> None:
        batch, length, groups, channels = scan.delta.shape
        scan = scan._replace(A=scan.A.contiguous(), D=scan.D.contiguous(), bias=scan.bias.contiguous())
        self._kept: list[Any] = [scan, y, states, (ctypes.c_int64 * groups)(*ways.paths)]
        self.num_parts = _num_parts(batch * scan.u.shape[2], channels)
        self._arguments = _Arguments(
            batch=batch,
            length=length,
            groups=groups,
            channels=channels,
            states=scan.A.shape[2],
            width=ways.width,
            is_shared=scan.is_shared,
            num_parts=self.num_parts,
            num_threads=torch.get_num_threads(),
            paths=self._kept[-1],
            **{name: getattr(scan, name).data_ptr() for name in Scan._fields},
            **{f"{name}_strides": _Strides(*getattr(scan, name).stride()) for name in ("u", "delta", "B", "C")},
            y=y.data_ptr(),
            y_strides=_Strides(*y.stride()),
            saved=None if states is None else states.data_ptr(),
        )

    def set_gradients(
        self, gu: Tensor, gdelta: Tensor, gB: Tensor, gC: Tensor, gA: Tensor, gD: Tensor, gbias: Tensor
    ) -> None:
        """Set the output buffers: `gB`, `gC` are (parts, B, L, K, N); `gA`, `gD`, `gbias` have one entry per sample."""
        self._kept += [gu, gdelta, gB, gC, gA, gD, gbias]
        for name, x in (("gu", gu), ("gdelta", gdelta), ("gB", gB[0]), ("gC", gC[0])):
            setattr(self._arguments, name, x.data_ptr())
            setattr(self._arguments, f"{name}_strides", _Strides(*x.stride()))
        self._arguments.gB_part, self._arguments.gC_part = gB.stride(0), gC.stride(0)
        for name, x in (("gA", gA), ("gD", gD), ("gbias", gbias)):
            setattr(self._arguments, name, x.data_ptr())

    def run(self, function: Any) -> None:
        if function(ctypes.byref(self._arguments)):
            raise MemoryError("There was not enough memory for the working space of a selective scan.")


def _stacked(num_parts: int, x: Tensor) -> Tensor:
    """Room for `num_parts` tensors like `x`, (parts, *x.shape), each with the strides of a fresh one."""
    strides = torch.empty_like(x, device="meta").stride()
    return x.new_empty_strided((num_parts, *x.shape), (x.numel(), *strides))


def _summed(parts: Tensor) -> Tensor:
    """Allocate `num_parts` tensors like `x`, (parts, *x.shape), each with the strides of a fresh one."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


def _num_parts(tasks: int, channels: int) -> int:
    blocks = -(-channels // _lanes())
    return max(1, min(blocks, -(-_WANTED_TASKS // tasks)))


@cache
def _lanes() -> int:
    return int(_library().selective_scan_lanes())


@cache
def _tokens() -> int:
    return int(_library().selective_scan_tokens())


@cache
def _library() -> ctypes.CDLL:
    """Return the library, and build it if the cache folder does not have it yet.

    Raises:
        OSError: There is no compiler, the build failed, or its result cannot be loaded.
    """
    compiler = _compiler()
    if compiler is None:
        raise OSError("no C compiler was found")
    path = cache_folder() / f"selective-scan-{_fingerprint(compiler)}.so"
    with contextlib.suppress(OSError):  # missing or damaged: build it
        return ctypes.CDLL(str(path))
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / path.name
        _compile(compiler, built)
        with contextlib.suppress(OSError):  # with a read-only home folder, every process pays a second
            _keep(built, path)
            return ctypes.CDLL(str(path))
        return ctypes.CDLL(str(built))  # stays loaded after the file is deleted


def _compile(compiler: str, path: Path) -> None:
    command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise OSError(f"'{compiler}' could not build it: {errors[0].strip()}")


def _keep(built: Path, path: Path) -> None:
    """Copy to `path` so that processes doing the same at the same time never see half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(built.read_bytes())
            file.flush()
            os.fsync(handle)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


@cache
def _compiler() -> str | None:
    candidates = (os.environ.get("CC"), *_COMPILERS)
    return next((found for name in candidates if name and (found := shutil.which(name))), None)


def _fingerprint(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    parts = (_SOURCE.read_text(), *_FLAGS, version, platform.machine(), _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """Return the instruction sets of the processor, which -march=native compiles for."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())
