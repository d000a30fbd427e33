"""One run on several devices: a process each, started by torchrun; rank 0 keeps the records.

ultralytics would start the ranks itself, but removes the run's folder first, and starts them in sessions of
their own, where a kill of the run leaves them behind with the GPU's memory.
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
"""What the ranks are to do, in the run's folder."""

END = "ranks-end.json"
"""How they ended."""


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
        overrides: ultralytics' arguments, `device` among them ("0,1", or "cpu" for ranks on the CPU).
        begins_stage: whether the weights come from a stage before, and the best of that does not count.
        trained: epochs already trained and told; records up to there are not told again.

    Returns:
        How the ranks ended. An interruption by an exception ends all of them first.
    """
    directory = Path(request.directory)
    (directory / END).unlink(missing_ok=True)
    plan = write_plan(request, overrides, begins_stage=begins_stage)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    watch = OomWatch()
    with blocked(signal.SIGUSR1):  # of which torchrun would die, and take the ranks along before they are heard
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
    """What `trainer.commands.rank` is to do, in a file of the run's folder; the arguments are those of `train`."""
    path = Path(request.directory) / PLAN
    plan = {"request": encode(request), "overrides": dict(overrides), "begins_stage": begins_stage}
    path.write_text(json.dumps(plan), encoding="utf-8")
    return path


def _end_of_ranks(request: TrainRequest, code: int, watch: OomWatch) -> EndRecord:
    path = Path(request.directory) / END
    end = decode(path.read_text(encoding="utf-8")) if path.exists() else None
    if isinstance(end, EndRecord):
        # Nobody stopped this run, or an exception would have ended it: torchrun stopped the others of a dead rank.
        if end.outcome == Outcome.STOPPED:
            return failures.end_of_lost_rank(request, oom_kill=watch.killed())
        return end
    return failures.end_of_dead(code, request, who="torchrun", oom_kill=watch.killed())


def _end(process: "subprocess.Popen[bytes]") -> None:
    """torchrun passes SIGTERM on to its ranks; killed itself, it takes them along (see `trainer.commands.rank`)."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
