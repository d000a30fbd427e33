"""The arguments a run was trained with: ultralytics' args.yaml, or the request that our trainer keeps."""

import json
import re
from collections.abc import Mapping

from tuner.contract import ParamValue
from tuner.diagnosis.columns import Task
from tuner.diagnosis.runs import ArgumentValue
from tuner.space import Scalar, Sequence, YamlMapping, read_tree

_TASKS = {"seg": Task.SEGMENT, "pose": Task.POSE, "obb": Task.OBB, "cls": Task.CLASSIFY}


def arguments_of_yaml(text: str) -> tuple[dict[str, ArgumentValue], tuple[str, ...]]:
    """What args.yaml says, and what could not be read in it, one line each.

    What is neither a value nor a list of values is left out, and so is what is not set (null).
    """
    root, problems = read_tree(text)
    notes = tuple(f"args.yaml:{problem.line} was skipped: {problem.text}" for problem in problems[:1])
    if not isinstance(root, YamlMapping):
        return {}, notes or ("args.yaml was skipped, since it is not a mapping of arguments",)
    found: dict[str, ArgumentValue] = {}
    for name, node in root.entries.items():
        value = node.value if isinstance(node, Scalar) else _values(node) if isinstance(node, Sequence) else None
        if value is not None:
            found[name] = value
    return found, notes


def arguments_of_request(text: str) -> dict[str, ArgumentValue]:
    """What request.json says; empty where it is none."""
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(request, Mapping) or not isinstance(request.get("params"), Mapping):
        return {}
    said = {**request["params"], **{name: request.get(name) for name in ("model", "data", "epochs", "seed")}}
    return {str(name): value for name, value in said.items() if isinstance(value, bool | int | float | str)}


def trains_from_scratch(arguments: Mapping[str, ArgumentValue]) -> bool | None:
    """Whether a run began with random weights; none where its arguments do not tell."""
    model, pretrained = arguments.get("model"), arguments.get("pretrained", True)
    if not isinstance(model, str) or arguments.get("resume", False):  # a resumed run names its own last.pt
        return None
    if isinstance(pretrained, str):
        return False
    # Ours with random weights, for a plain `yolo` command, are called so.
    return not model.endswith(".pt") or pretrained is False or model.endswith("-untrained.pt")


def task_of(arguments: Mapping[str, ArgumentValue]) -> Task | None:
    """The task that a run was made for, by its arguments or its model's name; none where they do not tell."""
    said = arguments.get("task")
    if said in list(Task):
        return Task(str(said))
    model = re.search(r"-(seg|pose|obb|cls)\b", str(arguments.get("model", "")))
    return _TASKS[model[1]] if model else None


def _values(node: Sequence) -> tuple[ParamValue, ...] | None:
    values = tuple(item.value for item in node.items if isinstance(item, Scalar) and item.value is not None)
    return values if len(values) == len(node.items) else None
