"""Run one rank of a multi-device training run: `python -m trainer.commands.rank PLAN PIPE`."""

import json
import os
import signal
import sys
from pathlib import Path

from trainer.exceptions import Stopped
from trainer.system.processes import die_with_parent
from trainer.system.stack_dumps import dump_on_request
from trainer.ultralytics_bridge import environment
from tuner.contract import Outcome, TrainRequest, decode, encode


def main(plan: Path, pipe: int) -> int:
    """Train, send the end record, and return the exit code; if it is not 0, the other ranks are stopped."""
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
    os.write(pipe, encode(end).encode())
    return 0 if end.outcome == Outcome.COMPLETED else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
