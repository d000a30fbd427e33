"""Run one rank of a multi-device training run: `python -m trainer.commands.rank PLAN`, started by torchrun."""

import json
import os
import signal
import sys
from pathlib import Path

from trainer.exceptions import Stopped
from trainer.system.processes import die_with_parent
from trainer.system.stack_dumps import dump_on_request
from trainer.training.distributed import END
from trainer.ultralytics_bridge import environment
from tuner.contract import EndRecord, Outcome, TrainRequest, decode, encode


def main(plan: Path) -> int:
    """Train, record the end, and return the exit code; if it is not 0, torchrun stops the other ranks."""
    die_with_parent()
    dump_on_request(plan.parent)
    environment.configure()
    from trainer.training import trial

    def stop(signum: int, frame: object) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    body = json.loads(plan.read_text(encoding="utf-8"))
    request = decode(body["request"])
    assert isinstance(request, TrainRequest)
    end = trial.train_as_rank(request, body["overrides"], begins_stage=body["begins_stage"])
    _note(end, plan.with_name(END), rank=int(os.environ["RANK"]))
    return 0 if end.outcome == Outcome.COMPLETED else 1


def _note(end: EndRecord, path: Path, rank: int) -> None:
    """Write the end of the run: rank 0's if all ranks completed, else the first failure, which stops the others."""
    if path.exists() or (end.outcome == Outcome.COMPLETED and rank != 0):
        return
    staged = path.with_name(f"{path.name}.{rank}")
    staged.write_text(encode(end), encoding="utf-8")
    staged.replace(path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
