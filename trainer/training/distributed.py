"""Train one run on several devices, with one process per device, started by torchrun; rank 0 keeps the records.

ultralytics could start the ranks itself, but it removes the run's folder first, and starts the ranks in new sessions.
If the run is then killed, they survive and keep their GPU memory.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.run_state import failures
from trainer.run_state.epoch_log import RecordLog
from trainer.system.processes import OomWatch, blocked
from tuner.contract import EndRecord, EpochRecord, Outcome, TrainRequest, decode, encode

_POLL_S = 0.2
_STOP_GRACE_S = 4.0
PLAN = "ranks.json"
"""Name of the file in the run's folder with the plan for the ranks."""

END = "ranks-end.json"
"""Name of the file with the end record of the ranks."""


def train(
    request: TrainRequest,
    overrides: Mapping[str, Any],
    *,
    num_ranks: int,
    trained: int,
    begins_stage: bool = False,
    emit: Callable[[EpochRecord], None],
) -> EndRecord:
    """Train on `num_ranks` processes and pass on the records as they are written.

    Args:
        request: the request to train.
        overrides: ultralytics' arguments, including `device` ("0,1", or "cpu" for ranks on the CPU).
        num_ranks: number of processes.
        trained: number of epochs already trained and reported; their records are not reported again.
        begins_stage: True if the weights come from an earlier stage, whose best epoch does not count.
        emit: called with each record.

    Returns:
        The end record of the ranks. An exception ends all ranks before it propagates.
    """
    directory = Path(request.directory)
    (directory / END).unlink(missing_ok=True)
    plan = write_plan(request, overrides, begins_stage=begins_stage)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    watch = OomWatch()
    with blocked(signal.SIGUSR1):  # it would kill torchrun, and with it the ranks before they report
        process = subprocess.Popen([*command, "-m", "trainer.commands.rank", str(plan)])
    told = trained
    try:
        while True:
            ended = process.poll() is not None
            for record in RecordLog(directory).read():
                if record.epoch > told:
                    told = record.epoch
                    emit(record)
            if ended:
                return _end_of_ranks(request, process.returncode, watch)
            time.sleep(_POLL_S)
    finally:
        _end(process)


def write_plan(request: TrainRequest, overrides: Mapping[str, Any], *, begins_stage: bool) -> Path:
    """Write the plan for `trainer.commands.rank` to the run's folder; the arguments are those of `train`."""
    path = Path(request.directory) / PLAN
    plan = {"request": encode(request), "overrides": dict(overrides), "begins_stage": begins_stage}
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


def _end_of_ranks(request: TrainRequest, code: int, watch: OomWatch) -> EndRecord:
    path = Path(request.directory) / END
    end = decode(path.read_text(encoding="utf-8")) if path.exists() else None
    if isinstance(end, EndRecord):
        # A stop would have raised an exception here, so torchrun stopped this rank after another one died.
        if end.outcome == Outcome.STOPPED:
            return failures.end_of_lost_rank(request, oom_kill=watch.killed())
        return end
    return failures.end_of_dead(code, request, who="torchrun", oom_kill=watch.killed())


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Stop torchrun, which passes SIGTERM on to its ranks; if killed, they die too (see `trainer.commands.rank`)."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
