"""Train one run on several devices, with one process (a rank) per device; rank 0 keeps the records.

ultralytics could start the ranks itself, but it removes the run's folder first, and starts the ranks in new sessions.
torchrun starts them in new sessions too, does not say how a rank died, and waits half a minute for ranks that no longer
answer. Ours stay in the process group of the run, so that whoever kills the run, or requests its stacks, reaches them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import psutil

from trainer.run_state import failures
from trainer.run_state.epoch_log import RecordLog
from trainer.system.processes import OomWatch, blocked
from tuner.contract import EndRecord, EpochRecord, Outcome, TrainRequest, decode, encode

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not list it

_POLL_S = 0.2
_STOP_GRACE_S = 4.0
"""Time in seconds for a rank to stop after SIGTERM; one that waits in C code for a dead rank does not react at all."""

_LAST_WORDS_S = 2.0
"""Time in seconds for other ranks to fail too: one that lost a connection may end before the one that closed it."""

_HOST = "127.0.0.1"
_MARK = "TRAINER_RANKS"
"""Environment variable by which the processes of a run are found, also those whose parent is dead."""

PLAN = "ranks.json"
"""Name of the file in the run's folder with the plan for the ranks."""

_RANK = (sys.executable, "-m", "trainer.commands.rank")


def train(
    request: TrainRequest,
    overrides: Mapping[str, Any],
    *,
    num_ranks: int,
    trained: int,
    begins_stage: bool = False,
    emit: Callable[[EpochRecord], None],
    rank_command: tuple[str, ...] = _RANK,
) -> EndRecord:
    """Train on `num_ranks` processes and pass on the records as they are written.

    Args:
        request: the request to train.
        overrides: ultralytics' arguments, including `device` ("0,1", or "cpu" for ranks on the CPU).
        num_ranks: number of processes.
        trained: number of epochs already trained and reported; their records are not reported again.
        begins_stage: True if the weights come from an earlier stage, whose best epoch does not count.
        emit: called with each record.
        rank_command: command of a rank; the path of the plan and a file descriptor for its end record are added.

    Returns:
        The end record of the ranks. An exception ends all ranks before it propagates.
    """
    plan = write_plan(request, overrides, begins_stage=begins_stage)
    watch = OomWatch()
    told = trained
    with _Ranks((*rank_command, str(plan)), num_ranks) as ranks:
        while True:
            ended = ranks.have_ended()
            for record in RecordLog(Path(request.directory)).read():
                if record.epoch > told:
                    told = record.epoch
                    emit(record)
            if ended:
                ranks.hear_out()
                return _end_of(request, ranks, watch)
            watch.look()
            time.sleep(_POLL_S)


def write_plan(request: TrainRequest, overrides: Mapping[str, Any], *, begins_stage: bool) -> Path:
    """Write the plan for `trainer.commands.rank` to the run's folder; the arguments are those of `train`."""
    path = Path(request.directory) / PLAN
    plan = {"request": encode(request), "overrides": dict(overrides), "begins_stage": begins_stage}
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


class _Ranks:
    """Processes of a run. Nothing of them is left after the block."""

    def __init__(self, command: tuple[str, ...], number: int) -> None:
        self._command = command
        self._number = number
        self._mark = uuid.uuid4().hex
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ends: list[int] = []
        """Pipe of each rank for its end record, which a full disk cannot stop."""
        self._store: TCPStore | None = None
        self.failed: dict[int, int] = {}
        """Exit code by rank, of those that had failed before the others were stopped."""

    def __enter__(self) -> Self:
        environment = {**os.environ, **self._meeting_place()}
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # gloo would look up the host's name, which can hang
        environment.setdefault("OMP_NUM_THREADS", "1")
        try:
            with blocked(signal.SIGUSR1):  # it would kill a rank that has no handler yet
                for rank in range(self._number):
                    self._start({**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def have_ended(self) -> bool:
        """Check whether all ranks have completed or one has failed."""
        codes = [process.poll() for process in self._processes]
        self.failed = {rank: code for rank, code in enumerate(codes) if code}
        return bool(self.failed) or all(code == 0 for code in codes)

    def hear_out(self) -> None:
        """After a failure, wait a moment for ranks that are about to end as well."""
        deadline_s = time.monotonic() + _LAST_WORDS_S
        while None in [process.poll() for process in self._processes] and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        self.have_ended()

    def end_record(self, rank: int) -> EndRecord | None:
        """Return the end record of a rank that has ended; None if it died without one."""
        try:
            line = os.read(self._ends[rank], 65536)
        except BlockingIOError:  # a data loader of the rank still holds the pipe
            line = b""
        if not line:
            return None
        end = decode(line.decode())
        assert isinstance(end, EndRecord)
        return end

    def _meeting_place(self) -> dict[str, str]:
        """Open the store in which the ranks find each other; return the variables that tell torch about it.

        Its port is open before its number is known, so no other process can take it meanwhile.
        """
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        listener = socket.create_server((_HOST, 0))
        port = listener.getsockname()[1]
        self._store = TCPStore(_HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach())
        return {
            "MASTER_ADDR": _HOST,
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(self._number),
            "LOCAL_WORLD_SIZE": str(self._number),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # otherwise rank 0 would open another store
            "TORCHELASTIC_RESTART_COUNT": "0",
            _MARK: self._mark,
        }

    def _start(self, environment: Mapping[str, str]) -> None:
        own, of_rank = os.pipe()
        os.set_blocking(own, False)
        self._ends.append(own)
        try:
            command = (*self._command, str(of_rank))
            self._processes.append(subprocess.Popen(command, env=environment, pass_fds=(of_rank,)))
        finally:
            os.close(of_rank)

    def _end(self) -> None:
        """Stop the ranks, and kill what is left, such as loaders, which hold the device until they miss their rank."""
        for rank in self._processes:
            rank.terminate()
        deadline_s = time.monotonic() + _STOP_GRACE_S
        for rank in self._processes:
            with suppress(subprocess.TimeoutExpired):
                rank.wait(max(deadline_s - time.monotonic(), 0))
        for process in (left := [process for process in psutil.process_iter() if self._is_ours(process)]):
            with suppress(psutil.Error):
                process.kill()
        for rank in self._processes:
            rank.wait()
        psutil.wait_procs(left, timeout=_STOP_GRACE_S)
        for pipe in self._ends:
            os.close(pipe)
        self._store = None

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self._mark
        except psutil.Error:  # it has ended, or belongs to another user
            return False


def _end_of(request: TrainRequest, ranks: _Ranks, watch: OomWatch) -> EndRecord:
    """Return rank 0's end record, or, after a failure, the one that explains it best."""
    if not ranks.failed:
        return ranks.end_record(0) or failures.end_of_dead(0, request, who="rank 0", oom_kill=False)
    told = []
    for rank, code in ranks.failed.items():
        end = ranks.end_record(rank)
        if end is None:
            return failures.end_of_dead(code, request, who=f"rank {rank}", oom_kill=watch.killed())
        if end.outcome != Outcome.STOPPED:
            told.append(end)
    if not told:  # someone stopped a rank; a stop of the run would have raised an exception here
        return failures.end_of_lost_rank(request, oom_kill=watch.killed())
    return min(told, key=lambda end: end.retryable)  # a lost connection, which is retryable, follows from the others
