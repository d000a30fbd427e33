"""Check one space in a process of its own: `python -m tuner.team_service.space_check`, JSON in, JSON out.

The process has a time, a memory and no secrets, so that a space that is made to do harm can cost no more than that.
"""

import json
import re
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from tuner.exceptions import SpaceError
from tuner.team_service.answers import Problem

CPU_S = 20
"""CPU time of a check, in seconds; a usual one takes 2."""

_MEMORY_BYTES = 4 << 30
"""Address space; numpy and Optuna reserve 1 GiB of it without using it."""

_FILE = "space.yaml"
_LINE = re.compile(rf"{re.escape(_FILE)}:(\d+): (.*)", re.DOTALL)
_MOST_PROBLEMS = 100

SETTINGS = ("trials", "epochs", "seed", "metric", "reevaluation_runs", "promote_epochs")
"""Settings of a space that a request may override."""

MOST = {"epochs": 10_000, "trials": 10_000, "promote_epochs": 10_000}
"""Maximum values of settings in the space itself, with which an estimate takes seconds."""


def checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """Check a space; return its problems, or its warnings, what it names, and the estimate if it is asked for."""
    from tuner.space import parse_space

    try:
        space = parse_space(request["space"], name=request["space_name"], file=_FILE)
        space = space.with_settings(**{name: request[name] for name in SETTINGS if request.get(name) is not None})
    except SpaceError as error:
        return _refused([_problem(line) for line in str(error).split("\n")])
    too_large = [
        Problem(text=f"`{name}` must be at most {most} in this service, but got {value}; write a smaller number")
        for name, most in MOST.items()
        if (value := getattr(space.settings, name)) > most
    ]
    if too_large:
        return _refused(too_large)
    if space.log:
        text = "`log` must be left out: the operator of the cluster chooses the trackers"
        return _refused([Problem(text=text)])
    estimate = _estimate(space, request["gpus"] or 1) if request["is_estimated"] else None
    warnings = [_problem(line).text for line in space.warnings]
    return {"problems": [], "warnings": warnings, "data": space.data, "model": space.model, "estimate": estimate}


def _estimate(space: Any, slots: int) -> dict[str, Any]:
    from tuner.cost.actual import noted
    from tuner.cost.estimate import estimate_cost

    estimate = estimate_cost(space, slots=slots)
    facts = noted(estimate, trials=space.settings.trials, slots=slots)
    reach = {str(epoch): (number.low, number.high) for epoch, number in estimate.arrivals.items()}
    return {"trials": facts.trials, "slots": facts.slots, "trained": facts.trained, "wall": facts.wall, "reach": reach}


def _problem(line: str) -> Problem:
    found = _LINE.fullmatch(line)
    return Problem(text=line) if found is None else Problem(line=int(found[1]), text=found[2])


def _refused(problems: list[Problem]) -> dict[str, Any]:
    known = [asdict(problem) for problem in problems[:_MOST_PROBLEMS]]
    return {"problems": known, "warnings": [], "data": None, "model": None, "estimate": None}


def main() -> int:
    """Check the space of standard input."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    json.dump(checked(json.load(sys.stdin)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
