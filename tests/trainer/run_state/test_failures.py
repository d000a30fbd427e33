"""The classes of failures: each rule by itself, with the real messages of torch, CUDA and the kernel."""

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from trainer.exceptions import DataError, DeviceError, DivergedError, ModelError, OutOfMemoryError, Stopped
from trainer.run_state import failures
from tuner.contract import Outcome, PrepareRequest, TrainRequest


def request_in(directory="/runs/3", devices=()):
    return TrainRequest(
        study="s",
        trial=3,
        params={"batch": 16, "imgsz": 640},
        model="m",
        data="d",
        epochs=1,
        stop_epoch=1,
        validation_epochs=(1,),
        seed=0,
        devices=devices,
        threads=1,
        directory=str(directory),
    )


def end_of(error, *, oom_kill=False, devices=()):
    return failures.end_of(error, request_in(devices=devices), oom_kill=oom_kill)


def passed_on(error):
    """Return an error as torch passes it on from a data-loading process."""
    from torch._utils import ExceptionWrapper

    try:
        raise error
    except type(error):
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(type(error)) as raised:
        wrapped.reraise()
    return raised.value


def caused(error, *, by):
    error.__context__ = by
    return error


GPU, HOST = "the GPU ran out of memory", "the host ran out of memory"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), GPU),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), GPU),
        (RuntimeError("Triton Error [CUDA]: out of memory"), GPU),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), GPU),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), GPU),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), GPU),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"), HOST),
        (MemoryError(), HOST),
        (MemoryError("Unable to allocate 16.0 GiB for an array with shape (2147483648,)"), HOST),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            HOST,
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"), HOST),
        (RuntimeError("unable to mmap 8 bytes from file <x>: Cannot allocate memory (12)"), HOST),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), HOST),
        (passed_on(MemoryError()), HOST),
        (RuntimeError("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 27 bytes"), HOST),
        (caused(OutOfMemoryError("a smaller batch is needed"), by=RuntimeError("CUDA out of memory.")), GPU),
    ],
)
def test_out_of_memory_names_its_place_and_the_sizes_that_ran(error, said):
    end = end_of(error)
    assert (end.outcome, end.retryable) == (Outcome.OUT_OF_MEMORY, False)
    assert end.message.startswith(f"{said} at batch 16, image size 640: ")
    assert end.log == "/runs/3/trainer.log"


FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which {free} is free. "
    "{others}Including non-PyTorch memory, this process has {own} memory in use. Of the allocated memory 9.10 GiB is "
    "allocated by PyTorch, and 321.01 MiB is reserved by PyTorch but unallocated."
)
NEIGHBOUR = "Process 4321 has 68.20 GiB memory in use. "


@pytest.mark.parametrize("others", [NEIGHBOUR, ""])
def test_memory_that_other_processes_hold_is_not_blamed_on_the_configuration(others):
    """In a container, torch cannot name the others."""
    error = torch.OutOfMemoryError(FULL.format(free="512.00 MiB", own="10.41 GiB", others=others))
    end = end_of(caused(OutOfMemoryError("training ran out of memory"), by=error), devices=(0,))
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert end.message.startswith("other processes hold 68.2 of the 79.1 GiB of the GPU: OutOfMemoryError: CUDA out of")


@pytest.mark.parametrize(("free", "own"), [("1.50 GiB", "77.50 GiB"), ("800.00 KiB", "72.00 GiB")])
def test_memory_that_the_run_itself_holds_is_blamed_on_the_configuration(free, own):
    error = torch.OutOfMemoryError(FULL.format(free=free, own=own, others=""))
    end = end_of(error, devices=(0,))
    assert (end.outcome, end.retryable) == (Outcome.OUT_OF_MEMORY, False)


LIMITED = [
    # Real messages from public reports, of processes that torch.cuda.set_per_process_memory_fraction limits.
    "CUDA out of memory. Tried to allocate 996.00 MiB. GPU 0 has a total capacity of 44.43 GiB of which 9.06 GiB is "
    "free. Process 2102129 has 17.54 GiB memory in use. Including non-PyTorch memory, this process has 17.81 GiB "
    "memory in use. 17.69 GiB allowed; Of the allocated memory 17.44 GiB is allocated by PyTorch, and 59.88 MiB is "
    "reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.",
    "CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 47.37 GiB of which 46.57 GiB is "
    "free. Including non-PyTorch memory, this process has 772.00 MiB memory in use. 800.55 MiB allowed; Of the "
    "allocated memory 245.48 MiB is allocated by PyTorch, and 16.52 MiB is reserved by PyTorch but unallocated.",
    "CUDA out of memory. Tried to allocate 3.98 GiB. GPU 0 has a total capacity of 31.84 GiB of which 16.30 GiB is "
    "free. Including non-PyTorch memory, this process has 17179869184.00 GiB memory in use. 17.51 GiB allowed; Of the "
    "allocated memory 6.74 GiB is allocated by PyTorch, and 7.02 GiB is reserved by PyTorch but unallocated.",
    "CUDA out of memory. Tried to allocate 250.00 MiB. GPU 0 has a total capacity of 79.19 GiB of which 2.07 GiB is "
    "free. Including non-PyTorch memory, this process has 77.11 GiB memory in use. 75.23 GiB allowed; Of the allocated "
    "memory 74.23 GiB is allocated by PyTorch, and 943.54 MiB is reserved by PyTorch but unallocated.",
    "HIP out of memory. Tried to allocate 76.00 MiB. GPU 0 has a total capacity of 255.69 GiB of which 252.82 GiB is "
    "free. 1.20 GiB allowed; Of the allocated memory 1.14 GiB is allocated by PyTorch, with 17.00 MiB allocated in "
    "private pools (e.g., HIP Graphs), and 18.63 MiB is reserved by PyTorch but unallocated.",
]


@pytest.mark.parametrize("text", LIMITED, ids=range(len(LIMITED)))
def test_a_run_too_large_for_its_share_of_a_gpu_is_out_of_memory_whatever_its_neighbours_hold(text):
    """In the first one, others hold 40 % of the GPU, and 9 GiB are free."""
    end = failures.end_of(torch.OutOfMemoryError(text), half_of_a_gpu(), oom_kill=False)
    assert (end.outcome, end.retryable) == (Outcome.OUT_OF_MEMORY, False)
    assert end.message.startswith(GPU)


def half_of_a_gpu():
    return replace(request_in(devices=(0,)), gpu_share=0.5)


NEIGHBOURS = (
    "CUDA out of memory. Tried to allocate {asked}. GPU 0 has a total capacity of 191.69 GiB of which {free} is free. "
    "{own}50.00 GiB allowed; Of the allocated memory 9.58 GiB is allocated by PyTorch, and 120.00 MiB is reserved by "
    "PyTorch but unallocated."
)
"""Torch's message; the sizes in GiB are from a public report in which other users had filled the GPU."""


@pytest.mark.parametrize(
    ("asked", "free", "own"),
    [
        ("2.00 GiB", "0 bytes", ""),  # as reported, without NVML
        ("512.00 KiB", "12.00 MiB", "Including non-PyTorch memory, this process has 10.20 GiB memory in use. "),
        ("40.00 GiB", "30.00 GiB", "Process 7 has 150.00 GiB memory in use. "),
    ],
)
def test_a_neighbour_that_fills_the_gpu_is_blamed_and_not_the_configuration(asked, free, own):
    error = torch.OutOfMemoryError(NEIGHBOURS.format(asked=asked, free=free, own=own))
    end = failures.end_of(
        caused(OutOfMemoryError("training ran out of memory"), by=error), half_of_a_gpu(), oom_kill=False
    )
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert "of its 50.0 GiB, but other processes had filled the GPU: OutOfMemoryError: CUDA out" in end.message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
def test_memory_that_torch_does_not_allocate_is_blamed_on_a_neighbour_if_the_gpu_is_shared(error):
    """The limit of a process does not cover it, so it is missing only if the whole GPU is full."""
    end = failures.end_of(error, half_of_a_gpu(), oom_kill=False)
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert end.message.startswith("the GPU, which other trials share, is full: ")
    assert end_of(error, devices=(0,)).outcome == Outcome.OUT_OF_MEMORY, "of a run that has the GPU alone"


def test_the_form_of_the_message_is_that_of_the_installed_torch():
    library = Path(torch.__file__).parent / "lib" / "libc10_cuda.so"
    if not library.exists():
        pytest.skip("this PyTorch comes without CUDA")
    content = library.read_bytes()
    for words in (
        b"Tried to allocate ",
        b" has a total capacity of ",
        b" is free. ",
        b" memory in use. ",
        b" allowed; ",
        b"Of the allocated memory ",
        b" is allocated by PyTorch, ",
        b" is reserved by PyTorch but unallocated.",
    ):
        assert words in content  # fmt: skip


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_the_memory_of_the_host_says_nothing_about_the_sizes_that_fit_on_a_gpu(error):
    end = end_of(error, devices=(0,))
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert end.message.startswith(HOST)
    killed = failures.end_of_dead(-9, request_in(devices=(0,)), oom_kill=True)
    assert (killed.outcome, killed.retryable) == (Outcome.ERROR, True)
    assert killed.message.startswith(HOST)


def test_a_device_that_does_not_work_now_is_retryable():
    end = end_of(DeviceError("No selective scan for GPUs works on cuda:0"), devices=(0,))
    assert (end.outcome, end.message, end.retryable) == (
        Outcome.ERROR,
        "No selective scan for GPUs works on cuda:0",
        True,
    )


@pytest.mark.parametrize("error", [OutOfMemoryError("a smaller batch is needed"), torch.OutOfMemoryError("no words")])
@pytest.mark.parametrize(("devices", "said"), [((), HOST), ((0,), GPU)])
def test_out_of_memory_without_a_place_is_attributed_to_the_device_of_the_run(error, devices, said):
    assert end_of(error, devices=devices).message.startswith(said)


def disk_errors():
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE):
        error = OSError(number, os.strerror(number))
        yield error
        yield caused(RuntimeError("a checkpoint could not be written"), by=error)
        yield passed_on(error)
    yield RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")
    yield RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
    yield RuntimeError("basic_ios::clear: iostream error")
    yield RuntimeError("write(): fd 3 failed with No space left on device")


@pytest.mark.parametrize("error", list(disk_errors()), ids=lambda error: str(error).strip()[-40:])
def test_a_full_or_broken_disk_is_retryable_and_named(error, tmp_path):
    end = failures.end_of(error, request_in(tmp_path), oom_kill=True)
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert f"on the disk of {tmp_path} (" in end.message
    assert "\n" not in end.message


FAILED_GPU, FAILED_LIBRARY = "the GPU or its driver failed", "cuDNN or cuBLAS failed on the GPU"
LOST_RANKS, FAILED_MPS = "lost their connection", "NVIDIA's MPS server failed"
OLD_DRIVER = "the NVIDIA driver does not match this PyTorch"

CUDA_TEXTS = {
    "uncorrectable ECC error encountered": FAILED_GPU,
    "uncorrectable NVLink error detected during the execution": FAILED_GPU,
    "Invalid access of peer GPU memory over nvlink or a hardware error": FAILED_GPU,
    "unspecified launch failure": FAILED_GPU,
    "hardware stack error": FAILED_GPU,
    "the launch timed out and was terminated": FAILED_GPU,
    "CUDA-capable device(s) is/are busy or unavailable": FAILED_GPU,
    "exclusive-thread device already in use by a different thread": FAILED_GPU,
    "no CUDA-capable device is detected": FAILED_GPU,
    "initialization error": FAILED_GPU,
    "driver shutting down": FAILED_GPU,
    "context is destroyed": FAILED_GPU,
    "invalid device context": FAILED_GPU,
    "wait operation timed out": FAILED_GPU,
    "system not yet initialized": FAILED_GPU,
    "an async error has occured in external entity outside of CUDA": FAILED_GPU,
    "unknown error": FAILED_GPU,
    "MPS client failed to connect to the MPS control daemon or the MPS server": FAILED_MPS,
    "the remote procedural call between the MPS server and the MPS client failed": FAILED_MPS,
    "MPS server is not ready to accept new MPS client requests": FAILED_MPS,
    "the hardware resources required to create MPS client have been exhausted": FAILED_MPS,
    "the hardware resources required to support device connections have been exhausted": FAILED_MPS,
    "the MPS client has been terminated by the server": FAILED_MPS,
}
"""Texts of the CUDA runtime for failures of the machine, with their names."""

PERMANENT_CUDA_TEXTS = {
    "CUDA driver version is insufficient for CUDA runtime version": OLD_DRIVER,
    "no kernel image is available for execution on the device": OLD_DRIVER,
    "forward compatibility was attempted on non supported HW": OLD_DRIVER,
    "system has unsupported display driver / cuda driver combination": OLD_DRIVER,
    "the provided PTX was compiled with an unsupported toolchain.": OLD_DRIVER,
    "API call is not supported in the installed CUDA driver": OLD_DRIVER,
    "CUDA driver is a stub library": OLD_DRIVER,
    "device-side assert triggered": "a class id is out of range",
    "an illegal memory access was encountered": "",
    "an illegal instruction was encountered": "",
    "misaligned address": "",
    "too many resources requested for launch": "",
    "invalid argument": "",
    "operation not supported": "",
}
"""The same for failures that would repeat."""


@pytest.mark.parametrize("text", [*CUDA_TEXTS, *PERMANENT_CUDA_TEXTS])
def test_the_texts_are_those_of_the_installed_cuda_runtime(text):
    libraries = list(Path(torch.__file__).parents[1].glob("nvidia/**/libcudart.so*"))
    if not libraries:
        pytest.skip("this PyTorch comes without a CUDA runtime")
    describe = ctypes.CDLL(str(libraries[0])).cudaGetErrorString
    describe.restype = ctypes.c_char_p
    assert text in {describe(number).decode() for number in range(1000)}


# Further messages of torch, its libraries and drivers. In public reports, cuDNN and cuBLAS errors have one cause as
# often as another: memory filled by others, a faulty device, a lost context (pytorch/pytorch issue 1171,
# ultralytics' `trainer.py`, zcablii/LSKNet issue 67, in which one of two equal GPUs has it).
RETRYABLE = [
    *((f"CUDA error: {text}\nCompile with `TORCH_USE_CUDA_DSA`.", said) for text, said in CUDA_TEXTS.items()),
    ("CUDA error: all CUDA-capable devices are busy or unavailable", FAILED_GPU),  # before CUDA 13
    ("No CUDA GPUs are available", FAILED_GPU),
    ("CUDA unknown error - this may be due to an incorrectly set up environment", FAILED_GPU),
    ("Unable to determine the device handle for GPU0000:03:00.0: Unknown Error", FAILED_GPU),
    ("Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.", FAILED_GPU),
    ("NVML: GPU requires reset", FAILED_GPU),
    ("GPU has fallen off the bus", FAILED_GPU),
    ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", FAILED_LIBRARY),
    ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", FAILED_LIBRARY),
    ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", FAILED_LIBRARY),
    ("cuDNN error: CUDNN_STATUS_MAPPING_ERROR", FAILED_LIBRARY),
    ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", FAILED_LIBRARY),
    ("CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasSgemm(handle)`", FAILED_LIBRARY),
    ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`", FAILED_LIBRARY),
    ("GET was unable to find an engine to execute this computation", FAILED_LIBRARY),
    ("Unable to find a valid cuDNN algorithm to run convolution", FAILED_LIBRARY),
    ("unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)", "/dev/shm"),
    ("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
     "shared memory.", "/dev/shm"),
    ("DataLoader worker (pid 7) is killed by signal: Killed. ", "a data loader process died"),
    ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "a data loader process died"),
    ("Pin memory thread exited unexpectedly", "a data loader process died"),
    ("can't start new thread", "no further process or thread"),
    ("NCCL error in: ProcessGroupNCCL.cpp:1, unhandled system error (run with NCCL_DEBUG=INFO)", LOST_RANKS),
    ("NCCL error in: NCCLUtils.hpp:1, unhandled cuda error (run with NCCL_DEBUG=INFO for details)", LOST_RANKS),
    ("ncclRemoteError: A call failed possibly due to a network error", LOST_RANKS),
    ("ncclInternalError: Internal check failed.", LOST_RANKS),
    ("[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)", LOST_RANKS),
    ("NCCL communicator was aborted on rank 6. Original reason for failure was: [Rank 6] Watchdog", LOST_RANKS),
    ("[pair.cc:547] Connection closed by peer [127.0.0.1]:1234", LOST_RANKS),
    ("[c10d] The client socket has timed out after 600s while trying to connect to (127.0.0.1, 29500).", LOST_RANKS),
    ("The server socket has failed to listen on any local network address. port: 29500", LOST_RANKS),
    ("Gloo connectFullMesh failed with [gloo/transport/tcp/pair.cc:144] no error", LOST_RANKS),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), RETRYABLE)
def test_failures_of_the_machine_are_retryable(text, said):
    end = end_of(RuntimeError(text))
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert said in end.message


@pytest.mark.parametrize("text", [text for text, said in RETRYABLE if said == FAILED_LIBRARY])
def test_what_ultralytics_mistakes_for_a_lack_of_memory_may_be_a_lost_device(text):
    """Our trainer refuses ultralytics' retry with a smaller batch, but must not rule out the batch for good."""
    end = end_of(caused(OutOfMemoryError("training ran out of memory"), by=RuntimeError(text)), devices=(0,))
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert FAILED_LIBRARY in end.message


PERMANENT = [
    *((f"CUDA error: {text}", said) for text, said in PERMANENT_CUDA_TEXTS.items()),
    ("The NVIDIA driver on your system is too old (found version 11040)", OLD_DRIVER),
    ("Found no NVIDIA driver on your system.", OLD_DRIVER),
    ("Failed to initialize NVML: Driver/library version mismatch", OLD_DRIVER),
    ("Torch not compiled with CUDA enabled", OLD_DRIVER),
    ("received 0 items of ancdata", "raise `ulimit -n`"),
    ("[Errno 24] Too many open files: '/data/3.jpg'", "raise `ulimit -n`"),
    ("cuDNN error: CUDNN_STATUS_BAD_PARAM", ""),
    ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.", ""),
    ("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm(handle)`", ""),
    ("ncclInvalidUsage: This usually reflects invalid usage of NCCL library.", ""),
    ("Cannot re-initialize CUDA in forked subprocess.", ""),
    ("mat1 and mat2 shapes cannot be multiplied", ""),
]


@pytest.mark.parametrize(("text", "said"), PERMANENT)
def test_failures_that_would_repeat_are_not_retryable(text, said):
    end = end_of(RuntimeError(text), oom_kill=True)
    assert (end.outcome, end.retryable) == (Outcome.ERROR, False)
    assert text in end.message
    assert said in end.message


def test_a_process_that_could_not_be_forked_is_retryable():
    end = end_of(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"))
    assert (end.outcome, end.retryable) == (Outcome.ERROR, True)
    assert "ulimit -u" in end.message


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 7) is killed by signal: Killed. ",
        "Pin memory thread exited unexpectedly",
        "[pair.cc:547] Connection closed by peer [::1]:1",
    ],
)
def test_a_process_that_is_gone_after_a_kill_for_memory_was_out_of_memory(text):
    end = end_of(RuntimeError(text), oom_kill=True)
    assert end.outcome == Outcome.OUT_OF_MEMORY
    assert end.message.startswith(HOST)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (DivergedError("the loss became NaN in epoch 1, batch 2"), Outcome.DIVERGED),
        (DataError("labels must be numbers"), Outcome.BAD_DATA),
        (ModelError("no such model"), Outcome.BAD_MODEL),
    ],
)
def test_errors_that_the_trainer_raises_on_purpose_keep_their_own_words(error, outcome):
    end = end_of(caused(error, by=OSError(errno.ENOSPC, "No space left on device")))
    assert (end.outcome, end.message, end.retryable) == (outcome, str(error), False)


def test_an_error_while_a_trial_is_being_stopped_counts_as_stopped():
    lost = RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")
    assert end_of(Stopped()).outcome == Outcome.STOPPED
    assert end_of(caused(lost, by=Stopped()), oom_kill=True).outcome == Outcome.STOPPED


def test_a_suppressed_exception_is_not_a_cause():
    def fall_back():
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise ValueError("a bug") from None

    with pytest.raises(ValueError, match="a bug") as raised:
        fall_back()
    assert not end_of(raised.value).retryable


def test_an_error_in_a_data_loader_is_reported_as_what_was_raised_there():
    assert end_of(passed_on(KeyError("boxes"))).message == "KeyError: 'boxes'"


def test_errors_that_cause_each_other_end_the_search_for_a_cause():
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__cause__, two.__cause__ = two, one
    assert end_of(one).message == "RuntimeError: one"


@pytest.mark.parametrize(
    ("code", "oom_kill", "outcome", "retryable", "said"),
    [
        (-signal.SIGKILL, True, Outcome.OUT_OF_MEMORY, False, "at batch 16, image size 640"),
        (-signal.SIGKILL, False, Outcome.ERROR, True, "the training process was killed by SIGKILL"),
        (-signal.SIGSEGV, True, Outcome.ERROR, True, "the training process was killed by SIGSEGV"),
        (-signal.SIGBUS, False, Outcome.ERROR, True, "/dev/shm"),
        (3, True, Outcome.ERROR, False, "the training process ended with exit code 3"),
    ],
)
def test_the_way_a_process_died_says_why(code, oom_kill, outcome, retryable, said):
    end = failures.end_of_dead(code, request_in(), oom_kill=oom_kill)
    assert (end.outcome, end.retryable) == (outcome, retryable)
    assert said in end.message


def test_a_lost_rank_is_retryable_unless_the_kernel_killed_for_memory():
    lost = failures.end_of_lost_rank(request_in(), oom_kill=False)
    assert (lost.outcome, lost.retryable) == (Outcome.ERROR, True)
    assert failures.end_of_lost_rank(request_in(), oom_kill=True).outcome == Outcome.OUT_OF_MEMORY


def test_a_failed_preparation_names_its_own_log():
    end = failures.end_of(MemoryError(), PrepareRequest(data="d", model="m", directory="/s"), oom_kill=False)
    assert end.log == "/s/prepare.log"
    assert end.message.startswith("the host ran out of memory while preparing the study")


# Provoked, not quoted: the messages come from the installed torch and this machine's kernel.


@pytest.fixture
def address_space():
    """Limit this process to 256 MiB more than it has mapped already."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**28, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")
@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**30), lambda: bytearray(2**32)], ids=["torch", "python"])
def test_memory_that_the_system_refuses_is_host_memory(address_space, allocate):
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        allocate()
    assert end_of(raised.value).message.startswith(HOST)


class Faulty(Dataset):
    """A data set whose loading process carries out a given action at the first image."""

    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.fault()


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)


def fill_the_disk():
    Path("/dev/full").write_text("no room for this")


@pytest.mark.parametrize(
    ("fault", "said"), [(kill_oneself, "a data loader process died"), (fill_the_disk, "no space left on the disk")]
)
def test_what_happens_to_a_loading_process_is_recognised(fault, said):
    with pytest.raises((RuntimeError, OSError)) as raised:
        next(iter(DataLoader(Faulty(fault), num_workers=1)))
    end = end_of(raised.value)
    assert end.retryable
    assert said in end.message


SAVE = """
import sys, torch
from trainer.run_state import failures
from tests.trainer.run_state.test_failures import request_in
target, legacy = sys.argv[1], len(sys.argv) > 2
try:
    torch.save(torch.zeros(4 * 2**20), target + "/last.pt", _use_new_zipfile_serialization=not legacy)
except Exception as error:
    end = failures.end_of(error, request_in(target), oom_kill=False)
    print(end.retryable, end.message)
"""


def in_a_small_tmpfs(folder, *arguments):
    """Run a script in a private view of the file system where `folder` is a disk of 8 MiB."""
    script = f'mount -t tmpfs -o size=8m none "{folder}" && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", sys.executable, "-c", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("legacy", [[], ["legacy"]], ids=["archive", "legacy"])
def test_a_checkpoint_that_does_not_fit_on_the_disk_is_recognised(tmp_path, legacy):
    if in_a_small_tmpfs(tmp_path, "").returncode:
        pytest.skip("this system does not let a user mount a file system of his own (unshare -Urm)")
    done = in_a_small_tmpfs(tmp_path, SAVE, str(tmp_path), *legacy)
    assert done.stdout.startswith("True "), done
    assert f"on the disk of {tmp_path} (" in done.stdout
