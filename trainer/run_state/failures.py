"""Classify failures: turn an exception, or the way a process died, into an end record.

The tuner acts on the class alone, so the class must be right: a full disk or a lost GPU is worth a retry, a batch that
does not fit in memory is a property of the configuration, and a bug fails again on every retry.
"""

import errno
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.exceptions import (
    DataError,
    DeviceError,
    DivergedError,
    ModelError,
    OutOfMemoryError,
    Stopped,
    StoreError,
)
from tuner.contract import (
    DataCheckRequest,
    EndRecord,
    EnvironmentRequest,
    MeasureRequest,
    Outcome,
    PrepareRequest,
    PreviewRequest,
    Request,
    TrainRequest,
)
from tuner.contract.run_folder import log_of


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rule:
    """A rule that recognises a failure by the type, error number or words of an exception in the chain."""

    said: Callable[[Request], str]
    """Description of the failure, in a few words."""
    outcome: Outcome = Outcome.ERROR
    retryable: bool = False
    types: tuple[type[BaseException], ...] = ()
    type_names: tuple[str, ...] = ()
    """Names of types from packages that are not imported here."""
    errnos: tuple[int, ...] = ()
    """Error numbers; the system's texts for them count too, because data loaders only pass on text."""
    words: tuple[str, ...] = ()
    """Words of the message, in lower case."""
    lost_process: bool = False
    """True if a process of the run died; if the kernel has just killed one for memory, the failure is out of memory."""

    def fits(self, error: BaseException) -> bool:
        text = str(error).lower()
        return (
            isinstance(error, self.types)
            or any(kind.__name__ in self.type_names for kind in type(error).__mro__)
            or (isinstance(error, OSError) and error.errno in self.errnos)
            or any(os.strerror(number).lower() in text for number in self.errnos)
            or any(words in text for words in self.words)
        )


def log_path(request: Request) -> Path:
    """Return the path of the log of a request's process."""
    return Path(request.directory) / log_of(request.type)


def end_of(error: BaseException, request: Request, *, oom_kill: bool) -> EndRecord:
    """Return the end record of a request that raised.

    Args:
        error: the exception; its causes and contexts are examined too.
        request: the request; the message contains the directory, batch and image size of a train request.
        oom_kill: True if the kernel killed a process for lack of memory while the request ran.
    """
    chain = tuple(_chain(error))
    if any(isinstance(link, Stopped) for link in chain):  # any other error came from stopping
        return _end(request, Outcome.STOPPED)
    for kind, outcome in _OURS:
        if isinstance(error, kind):
            return _end(request, outcome, _passed_on(error), retryable=kind in (DeviceError, StoreError))
    for rule in _RULES:
        for link in chain:
            if rule.fits(link):
                if rule.said is _host_memory or (rule.lost_process and oom_kill):
                    return _host_is_full(request, _told(link))
                if rule.outcome == Outcome.OUT_OF_MEMORY and (others := _fault_of_others(str(link), request)):
                    return _end(request, Outcome.ERROR, f"{others}: {_told(link)}", retryable=True)
                return _end(request, rule.outcome, f"{rule.said(request)}: {_told(link)}", retryable=rule.retryable)
    return _end(request, Outcome.ERROR, _told(error))


def end_of_dead(code: int, request: Request, *, who: str = "the training process", oom_kill: bool) -> EndRecord:
    """Return the end record of a request whose process died without writing one.

    Args:
        code: exit code, or minus the number of the signal that killed the process.
        request: the request that the process answered.
        who: name of the process in the message.
        oom_kill: True if the kernel has recently killed a process for lack of memory.
    """
    if code == -signal.SIGKILL and oom_kill:
        return _host_is_full(request, f"{who} was killed by the kernel")
    if code >= 0:
        return _end(request, Outcome.ERROR, f"{who} ended with exit code {code}")
    message = f"{who} was killed by {signal.Signals(-code).name}"
    if code == -signal.SIGBUS:
        message = f"{_SHARED_MEMORY}, or a memory-mapped file was truncated: {message}"
    return _end(request, Outcome.ERROR, message, retryable=True)


def end_of_lost_rank(request: Request, *, oom_kill: bool) -> EndRecord:
    """Return the end record of a multi-device run after one rank died without a record."""
    message = "a rank of the run was killed"
    if oom_kill:
        return _host_is_full(request, message)
    return _end(request, Outcome.ERROR, message, retryable=True)


def _host_is_full(request: Request, message: str) -> EndRecord:
    """Return the end of a request that ran out of the host's memory.

    On a GPU, that says nothing about the batch and image size: other processes and data loaders fill this memory.
    """
    told = f"{_host_memory(request)}: {message}"
    if isinstance(request, TrainRequest) and request.devices:
        return _end(request, Outcome.ERROR, told, retryable=True)
    return _end(request, Outcome.OUT_OF_MEMORY, told)


def _fault_of_others(text: str, request: Request) -> str:
    """Return why other processes are to blame that a GPU has run out of memory; "" if the run itself is.

    A run on a share of a GPU may use only this share. If torch refused to exceed it, the configuration does not fit
    into the share, whatever others hold. If the share was not used up, the GPU was full before: others had taken more
    than theirs. If the message has no sizes, memory outside of torch's allocator was missing, which no share limits.
    """
    known = {part: _gib(match) for part, word in _GPU_MEMORY.items() if (match := word.search(text))}
    if {"limit", "asked", "allocated", "cached"} <= known.keys():
        needed_gib = known["allocated"] + known["cached"] + known["asked"]
        if needed_gib > known["limit"] - _ROUNDING_GIB:
            return ""
        return (
            f"the run needed {needed_gib:.1f} of its {known['limit']:.1f} GiB, but other processes had filled the GPU"
        )
    if {"total", "free", "own"} <= known.keys():
        return _memory_of_others(known["total"], known["free"], known["own"])
    is_shared = isinstance(request, TrainRequest) and request.devices and request.gpu_share < 1
    return "the GPU, which other trials share, is full" if is_shared and "limit" not in known else ""


def _gib(match: re.Match[str]) -> float:
    return float(match[1]) * _GIB[match[2]]


def _memory_of_others(total_gib: float, free_gib: float, own_gib: float) -> str:
    """Return what other processes hold of the GPU, if that is much; "" if not."""
    others_gib = total_gib - free_gib - own_gib
    if others_gib <= _NEIGHBOURS_SHARE * total_gib:
        return ""
    return f"other processes hold {others_gib:.1f} of the {total_gib:.1f} GiB of the GPU"


def _end(request: Request, outcome: Outcome, message: str = "", *, retryable: bool = False) -> EndRecord:
    return EndRecord(outcome=outcome, message=message, retryable=retryable, log=str(log_path(request)))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, its causes and contexts, the outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _told(error: BaseException) -> str:
    """Return type and text in one line; for an error that a data loader passed on, those of the original."""
    text = str(error).strip()
    if _ORIGINAL in text:
        return _short(text.splitlines()[-1])
    return _short(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _passed_on(error: BaseException) -> str:
    """Return the text of our own error; if a data loader passed it on, the text of the original."""
    text = str(error)
    return text.splitlines()[-1].partition(": ")[2] if _ORIGINAL in text else text


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


def _sizes(request: Request) -> str:
    """Describe the settings or the activity that the memory use depends on."""
    if not isinstance(request, TrainRequest):
        return _DOING[request.type]
    named = {"batch": "batch", "imgsz": "image size"}
    return "at " + ", ".join(f"{said} {request.params[key]}" for key, said in named.items() if key in request.params)


def _gpu_memory(request: Request) -> str:
    return f"the GPU ran out of memory {_sizes(request)}"


def _host_memory(request: Request) -> str:
    return f"the host ran out of memory {_sizes(request)}"


def _some_memory(request: Request) -> str:
    on_gpu = isinstance(request, TrainRequest) and request.devices
    return _gpu_memory(request) if on_gpu else _host_memory(request)


def _full_disk(request: Request) -> str:
    return f"no space left on the disk of {_disk(request)}"


def _bad_disk(request: Request) -> str:
    return f"writing failed on the disk of {_disk(request)}, which is full or faulty"


def _disk(request: Request) -> str:
    try:
        free_mib = shutil.disk_usage(request.directory).free / 2**20
    except OSError:
        return request.directory
    return f"{request.directory} ({free_mib:.0f} MiB free)"


def _saying(text: str) -> Callable[[Request], str]:
    return lambda request: text


_DOING = {
    PrepareRequest.type: "while preparing the study",
    DataCheckRequest.type: "while checking the data set",
    PreviewRequest.type: "while drawing the preview",
    EnvironmentRequest.type: "while checking the environment",
    MeasureRequest.type: "while measuring the model",
}

_SIZE = r"([\d.]+) ([KMG]iB|bytes)"
_GPU_MEMORY = {
    "total": re.compile(rf"total capacity of {_SIZE}"),
    "free": re.compile(rf"which {_SIZE} is free"),
    "own": re.compile(rf"this process has {_SIZE} memory in use"),
    "asked": re.compile(rf"Tried to allocate {_SIZE}"),
    "limit": re.compile(rf"{_SIZE} allowed;"),
    "allocated": re.compile(rf"Of the allocated memory {_SIZE} is allocated by PyTorch"),
    "cached": re.compile(rf"{_SIZE} is reserved by PyTorch but unallocated"),
}
"""Parts of torch's message when a GPU has run out of memory (c10/cuda/CUDACachingAllocator.cpp)."""

_GIB = {"bytes": 2.0**-30, "KiB": 2.0**-20, "MiB": 2.0**-10, "GiB": 1.0}
_ROUNDING_GIB = 0.02
"""Maximum error of a sum of torch's sizes, which have two decimals; in doubt, the run itself is to blame."""
_NEIGHBOURS_SHARE = 0.1
"""Share of a GPU's memory in other processes from which they, not the configuration, are to blame."""

_ORIGINAL = "Original Traceback"
"""Text that torch puts between its own message and the original exception of a data loader."""

_SHARED_MEMORY = "the data loaders ran out of shared memory (enlarge /dev/shm, or train with fewer threads)"

_OURS: tuple[tuple[type[BaseException], Outcome], ...] = (
    (DivergedError, Outcome.DIVERGED),
    (DataError, Outcome.BAD_DATA),
    (ModelError, Outcome.BAD_MODEL),
    (DeviceError, Outcome.ERROR),
    (StoreError, Outcome.ERROR),
)

_RULES = (
    # Before the rules for disk and memory, because these messages contain their words too.
    _Rule(
        said=_saying(_SHARED_MEMORY),
        retryable=True,
        words=("shared memory(shm)", "unexpected bus error", "signal: bus error", "</torch_"),
    ),
    _Rule(
        said=_host_memory,
        outcome=Outcome.OUT_OF_MEMORY,
        types=(MemoryError,),
        errnos=(errno.ENOMEM,),
        words=(
            "defaultcpuallocator",
            "not enough memory",
            "error: (-4:insufficient memory)",
            "cudnn_status_internal_error_host_allocation_failed",
        ),
    ),
    _Rule(
        said=_gpu_memory,
        outcome=Outcome.OUT_OF_MEMORY,
        words=(
            "cuda out of memory",
            "cuda error: out of memory",
            "cuda]: out of memory",  # Triton
            "hip out of memory",
            "cublas_status_alloc_failed",
            "cudnn_status_alloc_failed",
            "cudnn_status_internal_error_device_allocation_failed",
        ),
    ),
    # Before the next rule, because ultralytics takes some of these for a lack of memory. They have several causes: a
    # device that another process fills, a faulty one, a lost context. The same trial can succeed elsewhere.
    _Rule(
        said=_saying("cuDNN or cuBLAS failed on the GPU, which is faulty or whose memory another process fills"),
        retryable=True,
        words=(
            "cudnn_status_internal_error",
            "cudnn_status_not_initialized",
            "cudnn_status_execution_failed",
            "cudnn_status_mapping_error",
            "cublas_status_not_initialized",
            "cublas_status_internal_error",
            "cublas_status_execution_failed",
            "cublas_status_mapping_error",
            "unable to find an engine",
            "unable to find a valid cudnn algorithm",
        ),
    ),
    _Rule(
        said=_some_memory,
        outcome=Outcome.OUT_OF_MEMORY,
        types=(OutOfMemoryError,),
        type_names=("OutOfMemoryError",),  # torch
        words=("out of memory",),
    ),
    _Rule(said=_full_disk, retryable=True, errnos=(errno.ENOSPC, errno.EDQUOT)),
    # torch loses the error number of a checkpoint that could not be written.
    _Rule(
        said=_bad_disk,
        retryable=True,
        errnos=(errno.EIO, errno.ESTALE),
        words=("pytorchstreamwriter failed", "inline_container.cc", "iostream error"),
    ),
    _Rule(
        said=_saying("a data loader process died"),
        retryable=True,
        words=("is killed by signal", ") exited unexpectedly", "pin memory thread exited"),
        lost_process=True,
    ),
    _Rule(
        said=_saying("too many files are open (raise `ulimit -n`, or train with fewer threads)"),
        errnos=(errno.EMFILE, errno.ENFILE),
        words=("received 0 items of ancdata",),
    ),
    _Rule(
        said=_saying("the system started no further process or thread (raise `ulimit -u` or the container's limit)"),
        retryable=True,
        types=(BlockingIOError,),
        words=("can't start new thread",),
    ),
    # A GPU kernel detected an error in the code: it fails again, on any device.
    _Rule(
        said=_saying("an assertion failed on the GPU, most often because a class id is out of range"),
        words=("device-side assert",),
    ),
    _Rule(
        said=_saying("the NVIDIA driver does not match this PyTorch (`tune doctor` shows both versions)"),
        words=(
            "driver version is insufficient",
            "nvidia driver on your system is too old",
            "found no nvidia driver",
            "forward compatibility was attempted",
            "no kernel image is available",
            "driver/library version mismatch",  # NVML, after an update without a restart
            "unsupported display driver / cuda driver combination",
            "compiled with an unsupported toolchain",
            "not supported in the installed cuda driver",
            "cuda driver is a stub library",
            "torch not compiled with cuda enabled",
        ),
    ),
    _Rule(
        said=_saying("the GPU or its driver failed"),
        retryable=True,
        words=(
            "uncorrectable ecc",
            "uncorrectable nvlink",
            "gpu memory over nvlink or a hardware error",
            "in external entity",
            "unspecified launch failure",
            "hardware stack error",
            "launch timed out",
            "busy or unavailable",
            "already in use by a different thread",  # a device in exclusive mode
            "no cuda-capable device is detected",
            "no cuda gpus are available",
            "gpu is lost",
            "fallen off the bus",
            "gpu requires reset",
            "unable to determine the device handle",
            "cuda error: initialization error",
            "driver shutting down",
            "context is destroyed",
            "invalid device context",
            "wait operation timed out",
            "system not yet initialized",
            "cuda error: unknown error",
            "cuda unknown error",
        ),
    ),
    _Rule(
        said=_saying("NVIDIA's MPS server failed"),
        retryable=True,
        words=("mps client", "mps server", "support device connections have been exhausted"),
    ),
    _Rule(
        said=_saying("the ranks of the run lost their connection"),
        retryable=True,
        words=(
            "connection closed by peer",
            "connection reset by peer",
            "ncclremoteerror",
            "ncclsystemerror",
            "unhandled system error",
            "unhandled cuda error",
            "collective operation timeout",
            "timed out waiting",
            "nccl communicator was aborted",
            "ncclinternalerror",
            "socket has timed out",
            "socket has failed",
            "socket timeout",
            "connectfullmesh failed",
            "connection was likely closed",
        ),
        lost_process=True,
    ),
)
"""Rules in order; the first that fits an exception of the chain decides."""
