"""Read the arguments of a run from the args.yaml of ultralytics or from the request.json of our trainer."""

import json
import re
from collections.abc import Mapping

from tuner.contract import ParamValue
from tuner.diagnosis.columns import Task
from tuner.diagnosis.runs import ArgumentValue
from tuner.space import Scalar, Sequence, YamlMapping, read_tree

_TASKS = {"seg": Task.SEGMENT, "pose": Task.POSE, "obb": Task.OBB, "cls": Task.CLASSIFY}


def arguments_of_yaml(text: str) -> tuple[dict[str, ArgumentValue], tuple[str, ...]]:
    """Return the arguments in an args.yaml, and one line for each problem in it.

    Unset arguments (null) and values that are neither a scalar nor a list of scalars are left out.
    """
    root, problems = read_tree(text)
    notes = tuple(f"args.yaml:{problem.line} was skipped: {problem.text}" for problem in problems[:1])
    if not isinstance(root, YamlMapping):
        return {}, notes or ("args.yaml was skipped because it is not a mapping of arguments",)
    found: dict[str, ArgumentValue] = {}
    for name, node in root.entries.items():
        value = node.value if isinstance(node, Scalar) else _values(node) if isinstance(node, Sequence) else None
        if value is not None:
            found[name] = value
    return found, notes


def arguments_of_request(text: str) -> dict[str, ArgumentValue]:
    """Return the arguments in a request.json, or an empty dict if the text is not a valid request."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(request, Mapping) or not isinstance(request.get("params"), Mapping):
        return {}
    said = {**request["params"], **{name: request.get(name) for name in ("model", "data", "epochs", "seed")}}
    return {str(name): value for name, value in said.items() if isinstance(value, bool | int | float | str)}


def trains_from_scratch(arguments: Mapping[str, ArgumentValue]) -> bool | None:
    """Check whether a run started from random weights; None if its arguments do not show it."""
    model, pretrained = arguments.get("model"), arguments.get("pretrained", True)
    if not isinstance(model, str) or arguments.get("resume", False):  # the model of a resumed run is its own last.pt
        return None
    if isinstance(pretrained, str):
        return False
    # We save models with random weights for a plain `yolo` command under this suffix.
    return not model.endswith(".pt") or pretrained is False or model.endswith("-untrained.pt")


def task_of(arguments: Mapping[str, ArgumentValue]) -> Task | None:
    """Return the task of a run, from its arguments or the name of its model; None if neither shows it."""
    said = arguments.get("task")
    if said in list(Task):
        return Task(str(said))
    model = re.search(r"-(seg|pose|obb|cls)\b", str(arguments.get("model", "")))
    return _TASKS[model[1]] if model else None


def _values(node: Sequence) -> tuple[ParamValue, ...] | None:
    values = tuple(item.value for item in node.items if isinstance(item, Scalar) and item.value is not None)
    return values if len(values) == len(node.items) else None
