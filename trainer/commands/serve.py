"""Answer requests in a fork server: import torch and ultralytics once, then run each request in its own fork.

A fork starts in milliseconds, while a new process spends seconds on imports. When it ends, the operating system frees
all its resources, including GPU memory. The server itself never uses CUDA and never starts threads, because neither
survives a fork.
"""

import array
import faulthandler
import fcntl
import gc
import logging
import os
import select
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import NoReturn

from trainer.artifacts import scratch
from trainer.artifacts.mirror import Mirror
from trainer.artifacts.run_store import attempt_here
from trainer.exceptions import Stopped
from trainer.run_state import end_record, failures
from trainer.system import decoded_images, stack_dumps
from trainer.system.gpu_share import limit_memory
from trainer.system.processes import (
    OomWatch,
    adopt_orphans,
    be_killed_first,
    die_with_parent,
    end_group,
    keep_freed_memory,
)
from trainer.ultralytics_bridge import environment
from tuner.contract import (
    ContractError,
    DataCheckRequest,
    DeviceCheckRequest,
    EndRecord,
    EnvironmentRequest,
    MeasureRequest,
    Outcome,
    PrepareRequest,
    PreviewRequest,
    ProgressRecord,
    Record,
    Request,
    StartedRecord,
    TrainRequest,
    UnknownTypeError,
    decode,
    encode,
)

_POLL_S = 0.05

_THE_TUNERS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that the tuner handles, and that systemd or SLURM may send to every process. The server ignores them: it ends
with its standard input, and a training process by the signals of its tuner."""

logger = logging.getLogger("trainer")


def serve() -> int:
    """Answer requests from standard input until it closes, and return the exit code."""
    environment.isolate()
    records = _Records(os.dup(1))
    os.dup2(2, 1)  # other output must not mix with the records
    requests = _Lines(0)
    for signum in _THE_TUNERS:
        signal.signal(signum, signal.SIG_IGN)
    adopt_orphans()
    while (line := requests.next()) is not None:
        request = _request_on(line)
        if isinstance(request, EndRecord):
            records.send(request)
            continue
        records.there = records.here = request.directory
        if isinstance(request, TrainRequest):
            _warm_up()
            if not request.shares_files:
                request = scratch.on_this_machine(request)
                records.here = request.directory
            if request.image_cache_bytes:
                decoded_images.lease()  # for all trials of this server, which may pause between two
        watch = OomWatch()
        gc.freeze()  # a collection in the fork would copy the memory of the imports, and one at the end takes a second
        child = os.fork()
        if child == 0:
            _run_and_exit(request, records, watch)
        if not _await(child, request, requests, records, watch):
            return 0
    return 0


def _request_on(line: str) -> Request | EndRecord:
    """Decode a request, or return an end record that explains why the line cannot be answered."""
    try:
        message = decode(line)
    except UnknownTypeError as error:
        return EndRecord(outcome=Outcome.UNSUPPORTED, message=str(error))
    except ContractError as error:
        return EndRecord(outcome=Outcome.ERROR, message=str(error))
    if isinstance(message, Request):
        return message
    return EndRecord(
        outcome=Outcome.ERROR, message=f"A line must be a request, but got a message of type {message.type}"
    )


class _Lines:
    """Lines from a file descriptor, without a read-ahead buffer that a fork would copy."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""
        self.closed = False

    def next(self) -> str | None:
        """Return the next line, or None if the other side has closed."""
        while b"\n" not in self._buffer and not self.closed:
            self._fill()
        line, newline, self._buffer = self._buffer.partition(b"\n")
        return line.decode() if newline else None

    def fill_if_ready(self, timeout_s: float) -> None:
        """Wait for input at most `timeout_s`, and notice if the other side closes."""
        if select.select([self._fd], [], [], timeout_s)[0]:
            self._fill()

    def _fill(self) -> None:
        chunk = os.read(self._fd, 65536)
        self.closed = not chunk
        self._buffer += chunk


class _Records:
    """Pipe for the records of one request after the other."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.here = self.there = ""
        """Folder of the request on this machine, and as the tuner named it."""

    def send(self, record: Record) -> None:
        """Send a record, but no progress while the tuner has not read what it got, so that it never fills the pipe."""
        if isinstance(record, ProgressRecord) and _unread_bytes(self._fd):
            return
        data = (encode(scratch.as_known(record, self.here, self.there)) + "\n").encode()
        while data:
            data = data[os.write(self._fd, data) :]


def _warm_up() -> None:
    """Import the modules for every trial, with one thread, because a thread pool does not survive a fork."""
    if "trainer.training.trial" in sys.modules:
        return
    import torch

    torch.set_num_threads(1)
    environment.configure()
    import torch._dynamo  # torch's first optimizer imports it
    import torchvision  # noqa: F401 - ultralytics' first validation imports it

    import trainer.training.trial  # noqa: F401


def _await(child: int, request: Request, requests: _Lines, records: "_Records", watch: OomWatch) -> bool:
    """Wait until the child ends or the tuner is gone; return whether to continue serving.

    Meanwhile, copy the stack dumps of its processes to its log, including those of an earlier attempt that died with
    its server.
    """
    run, log = Path(request.directory), failures.log_path(request)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        watch.look()
        stack_dumps.collect(run, log)
        if not requests.closed:
            requests.fill_if_ready(_POLL_S)
        if requests.closed:
            end_group(child)
            stack_dumps.collect_finally(run, log)
            return False
    if not end_group(child):  # what the trial left behind: loaders, ranks
        logger.warning("processes of %s do not end", run)
    stack_dumps.collect_finally(run, log)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        end = failures.end_of_dead(code, request, oom_kill=watch.killed())
        _keep(end, request)
        _push(end, request)
        records.send(end)
    return True


def _keep(end: EndRecord, request: Request) -> None:
    """Write the end record of a training run that could not write it itself, if the run's folder exists."""
    if isinstance(request, TrainRequest):
        with suppress(OSError):
            end_record.write(Path(request.directory), end)


def _push(end: EndRecord, request: Request) -> None:
    """Push the files of a training run that died before it could."""
    if isinstance(request, TrainRequest) and attempt_here(Path(request.directory)) == request.attempt > 0:
        mirror = Mirror(request)
        with suppress(OSError, Stopped):
            mirror.flush(end, epoch=0)
        mirror.close()


def _run_and_exit(request: Request, records: "_Records", watch: OomWatch) -> NoReturn:
    """Run the request in the fork, send its end record, and exit without the parent's clean-up."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        die_with_parent()
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
        be_killed_first()
        try:
            end = _answer(request, records)
        except (Exception, Stopped) as error:  # errors before training; training reports its own
            logger.exception("the request failed")
            end = failures.end_of(error, request, oom_kill=watch.killed())
            _keep(end, request)
        # A stop that arrives at the same time as the end must not fail the exit: the server would send a second end
        # record, and the tuner would take it for that of its next request.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        records.send(end)
        code = 0
    except BaseException:
        logger.exception("the request failed")
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _answer(request: Request, records: "_Records") -> EndRecord:
    is_apart = isinstance(request, TrainRequest) and not request.shares_files
    if is_apart:
        scratch.remove_left_behind()
    with scratch.held(Path(request.directory)) if is_apart else nullcontext():
        return _answer_in_folder(request, records)


def _answer_in_folder(request: Request, records: "_Records") -> EndRecord:
    _print_to(failures.log_path(request))
    stack_dumps.dump_on_request(Path(request.directory))
    if isinstance(request, TrainRequest):
        return _train(request, records)
    records.send(StartedRecord(pid=os.getpid(), device="CPU"))
    return _serve_once(request, lambda record: records.send(record))


def _serve_once(
    request: PrepareRequest
    | DataCheckRequest
    | PreviewRequest
    | EnvironmentRequest
    | MeasureRequest
    | DeviceCheckRequest,
    emit: Callable[[Record], None],
) -> EndRecord:
    """Answer a request other than training; its modules are imported here, in the fork."""
    match request:
        case PrepareRequest():
            from trainer.commands import prepare

            return prepare.run(request, emit)
        case DataCheckRequest():
            from trainer.commands import check_data

            return check_data.run(request, emit)
        case PreviewRequest():
            from trainer.commands import preview

            return preview.run(request, emit)
        case EnvironmentRequest():
            from trainer.commands import environment

            return environment.run(request, emit)
        case MeasureRequest():
            from trainer.commands import measure

            return measure.run(request, emit)
        case DeviceCheckRequest():
            from trainer.commands import check_device

            return check_device.run(request, emit)


def _train(request: TrainRequest, records: "_Records") -> EndRecord:
    import torch

    from trainer.training import trial

    def stop(signum: int, frame: object) -> None:
        raise Stopped

    torch.set_num_threads(max(request.threads, 1))
    if not request.devices:
        keep_freed_memory()
    device = torch.cuda.get_device_name(request.devices[0]) if request.devices else "CPU"
    for number in request.devices:
        limit_memory(request.gpu_share, number)
    signal.signal(signal.SIGTERM, stop)
    records.send(StartedRecord(pid=os.getpid(), device=device))
    return trial.run(request, lambda record: records.send(record))


def _print_to(path: Path) -> None:
    """Redirect all output and logs of this process to a file, and write its stacks there if it crashes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.enable(file=2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")


def _unread_bytes(pipe: int) -> int:
    unread = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, unread)
    return unread[0]
