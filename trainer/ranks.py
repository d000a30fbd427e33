"""One run on several devices: a process each, started by torchrun; rank 0 keeps the records.

ultralytics would start the ranks itself, but removes the run's folder first, and starts them in sessions of
their own, where a kill of the run leaves them behind with the GPU's memory.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer.records import RecordLog
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
    emit: Callable[[EpochRecord], None],
) -> EndRecord:
    """Train on `num_ranks` processes and pass on the records as they are written.

    Args:
        overrides: ultralytics' arguments, `device` among them ("0,1", or "cpu" for ranks on the CPU).
        trained: epochs already trained and told; records up to there are not told again.

    Returns:
        How the ranks ended. An interruption by an exception ends all of them first.
    """
    directory = Path(request.directory)
    (directory / END).unlink(missing_ok=True)
    (directory / PLAN).write_text(json.dumps({"request": encode(request), "overrides": dict(overrides)}))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    process = subprocess.Popen([*command, "-m", "trainer.rank", str(directory / PLAN)])
    told = trained
    try:
        while True:
            ended = process.poll() is not None
            for record in RecordLog(directory).read():
                if record.epoch > told:
                    told = record.epoch
                    emit(record)
            if ended:
                return _end_of_ranks(directory, process.returncode)
            time.sleep(_POLL_S)
    finally:
        _end(process)


def _end_of_ranks(directory: Path, code: int) -> EndRecord:
    path = directory / END
    if path.exists():
        end = decode(path.read_text(encoding="utf-8"))
        if isinstance(end, EndRecord):
            return end
    killed = code < 0
    return EndRecord(outcome=Outcome.ERROR, message=f"the ranks ended with exit code {code}", retryable=killed)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """torchrun passes SIGTERM on to its ranks; killed itself, it takes them along (see `trainer.rank`)."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
