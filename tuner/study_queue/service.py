"""Carry out one request of a client on the cluster: `python -m tuner.study_queue.service`, a short Ray job.

The request is in the environment, the answer is the last line of the job's log, both as JSON.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from tuner import __version__
from tuner.exceptions import MachineError, TunerError, UsageError
from tuner.study_queue.entries import Submission
from tuner.study_queue.table import QueueTable, opened_queue, queue_url

REQUEST_VARIABLE = "TUNE_QUEUE_REQUEST"

MARK = "tune-queue-answer: "
"""Begin of the line with the answer."""


def answer(request: Mapping[str, Any], table: QueueTable) -> dict[str, Any]:
    """Carry out a request and return the answer.

    Raises:
        TunerError: It cannot be carried out.
    """
    match request["do"]:
        case "submit":
            return {"entry": table.add(Submission.decoded(request["submission"])).described()}
        case "stop":
            return {"entry": table.stop(request["study"]).described()}
        case "show":
            return {"entry": table.latest_of(request["study"]).described()}
        case "list":
            return {"entries": [entry.described() for entry in table.entries(all_of_them=request["all"])]}
        case "ensure":
            return {"waiting": len(table.entries())}
        case other:
            raise UsageError(f"A request to the queue must be submit, stop, show, list or ensure, but got {other!r}.")


def main() -> int:
    """Carry out the request of the environment."""
    request = json.loads(os.environ[REQUEST_VARIABLE])
    try:
        if request["version"] != __version__:
            raise MachineError(
                f"The cluster has version {__version__} of mamba-yolo-tuner, but this machine has "
                f"{request['version']}; install the same one on both."
            )
        with opened_queue(queue_url(os.environ)) as table:
            told: dict[str, Any] = answer(request, table)
        if request["do"] in ("submit", "ensure"):
            _ensure_keeper()
    except TunerError as error:
        told = {"error": str(error), "code": error.exit_code}
    except Exception as error:
        told = {"error": f"Internal error, please report: {error!r}", "code": TunerError.exit_code}
    sys.stdout.write(f"{MARK}{json.dumps(told)}\n")
    return 0


def _ensure_keeper() -> None:
    from tuner.execution import ray_node

    ray_node.join("auto")
    from tuner.study_queue.ray_cluster import ensure_keeper

    ensure_keeper()


if __name__ == "__main__":
    sys.exit(main())
