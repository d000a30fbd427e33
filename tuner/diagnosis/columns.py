"""Interpret the columns of a results table, by the trainer that wrote them and its task."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tuner.contract import METRICS


class Task(StrEnum):
    """The tasks of ultralytics."""

    DETECT = "detect"
    SEGMENT = "segment"
    POSE = "pose"
    OBB = "obb"
    CLASSIFY = "classify"
    SEMANTIC = "semantic"
    DEPTH = "depth"


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The values that a kind of trainer writes after each epoch."""

    name: str
    """Name of this kind of model."""
    losses: tuple[str, ...]
    """Loss components in the order of the columns, without `train/` and `_loss`."""
    task: Task = Task.DETECT
    box: str = ""
    """Loss to which the guide's ranges for the box loss apply; empty if there is none."""
    takes_our_arguments: bool = True
    """True if the trainer takes the arguments of ultralytics; the original YOLOv5 and YOLOv9 have their own."""


YOLO = Columns(name="YOLO", losses=("box", "cls", "dfl"), box="box")
RT_DETR = Columns(name="RT-DETR", losses=("giou", "cls", "l1"))
_KINDS = (
    YOLO,
    Columns(name="YOLO26", losses=("box", "cls", "l1"), box="box"),
    Columns(name="YOLOv10", losses=("box_om", "cls_om", "dfl_om", "box_oo", "cls_oo", "dfl_oo"), box="box_om"),
    RT_DETR,
    Columns(name="YOLOv5", losses=("box", "obj", "cls")),
    Columns(name="YOLO", losses=("box", "seg", "cls", "dfl"), task=Task.SEGMENT),
    Columns(name="YOLO", losses=("box", "seg", "cls", "dfl", "sem"), task=Task.SEGMENT),
    Columns(name="YOLO26", losses=("box", "seg", "cls", "l1"), task=Task.SEGMENT),
    Columns(name="YOLO26", losses=("box", "seg", "cls", "l1", "sem"), task=Task.SEGMENT),
    Columns(name="YOLOv5", losses=("box", "seg", "obj", "cls"), task=Task.SEGMENT),
    Columns(name="YOLO", losses=("box", "pose", "kobj", "cls", "dfl"), task=Task.POSE),
    Columns(name="YOLO", losses=("box", "pose", "kobj", "cls", "dfl", "rle"), task=Task.POSE),
    Columns(name="YOLO26", losses=("box", "pose", "kobj", "cls", "l1"), task=Task.POSE),
    Columns(name="YOLO26", losses=("box", "pose", "kobj", "cls", "l1", "rle"), task=Task.POSE),
    Columns(name="YOLO", losses=("box", "cls", "dfl", "angle"), task=Task.OBB),
    Columns(name="YOLO26", losses=("box", "cls", "l1", "angle"), task=Task.OBB),
    Columns(name="YOLO", losses=("loss",), task=Task.CLASSIFY),
    Columns(name="YOLO", losses=("ce", "dice", "aux"), task=Task.SEMANTIC),
    Columns(name="YOLO", losses=("dlog", "dgrad"), task=Task.DEPTH),
)
_OTHER_METRICS = {
    "accuracy_top1": (Task.CLASSIFY, "top-1 accuracy"),
    "accuracy_top5": (Task.CLASSIFY, "top-5 accuracy"),
    "mIoU": (Task.SEMANTIC, "mIoU"),
    "pixel_acc": (Task.SEMANTIC, "pixel accuracy"),
    "delta1": (Task.DEPTH, "delta1"),
    "delta2": (Task.DEPTH, "delta2"),
    "delta3": (Task.DEPTH, "delta3"),
    "abs_rel": (Task.DEPTH, "abs_rel"),
    "rmse": (Task.DEPTH, "rmse"),
    "silog": (Task.DEPTH, "silog"),
}
_OF_YOLOV5 = {"mAP_0.5:0.95": "mAP50-95", "mAP_0.5": "mAP50"}
_METRIC = re.compile(r"metrics/([^()]+)(?:\(([BMP])\))?")
_MARKS = {"M": (Task.SEGMENT, "mask "), "P": (Task.POSE, "pose ")}
_SCORES = {
    Task.DETECT: ("mAP50-95", "mAP50"),
    Task.SEGMENT: ("mask mAP50-95", "mask mAP50"),
    Task.POSE: ("pose mAP50-95", "pose mAP50"),
    Task.OBB: ("box mAP50-95", "box mAP50"),
    Task.CLASSIFY: ("top-1 accuracy", "top-1 accuracy"),
    Task.SEMANTIC: ("mIoU", "mIoU"),
    Task.DEPTH: ("delta1", "delta1"),
}
_OTHER = re.compile(r"|epoch|time|fitness|(x/)?lr/?\w*")
"""Columns that no rule needs; the first alternative is the unnamed index that pandas writes."""


def scores(task: Task) -> tuple[str, str]:
    """Return the metric that selects the best epoch for a task, and the metric that shows its progress."""
    return _SCORES[task]


def columns_of_records(losses: Iterable[str]) -> Columns:
    """Return the columns of a trainer that follows our contract: a detector whose losses all count."""
    names = tuple(losses)
    known = (kind for kind in _KINDS if kind.task is Task.DETECT and set(kind.losses) == set(names))
    return next(known, Columns(name="unknown", losses=names, box="box" if "box" in names else ""))


def loss_of(column: str, split: str) -> str | None:
    """Return the name of a loss of a split ("train" or "val"); None for any other column."""
    return column.removeprefix(f"{split}/").removesuffix("_loss") if column.startswith(f"{split}/") else None


def metric_of(column: str, task: Task) -> str | None:
    """Return the name of a metric: one of METRICS for a detector, with a prefix for other tasks; None if unknown."""
    found = _METRIC.fullmatch(column)
    if found is None:
        return None
    name, mark = _OF_YOLOV5.get(found[1], found[1]), found[2]
    if name in _OTHER_METRICS and not mark:
        return _OTHER_METRICS[name][1]
    if name not in METRICS:
        return None
    about = _MARKS[mark][1] if mark in _MARKS else "" if task is Task.DETECT else "box "
    return about + name


def columns_of(names: Iterable[str], task: Task | None) -> Columns:
    """Return the kind of trainer that writes these columns: the closest with a common loss, else one without losses.

    Args:
        names: the names of the columns.
        task: the task in the run's arguments, used if the columns could also belong to a detector.
    """
    names = tuple(names)
    losses = {loss for name in names if (loss := loss_of(name, "train")) is not None}
    said = _task_of(names) or (task if task is not Task.DETECT else None)
    kinds = [kind for kind in _KINDS if losses & set(kind.losses)] or [Columns(name="unknown", losses=())]
    best = max(kinds, key=lambda kind: (-len(losses ^ set(kind.losses)), kind.task is (said or Task.DETECT)))
    of_yolov5 = any((found := _METRIC.fullmatch(name)) and found[1] in _OF_YOLOV5 for name in names)
    return replace(best, task=said or best.task, takes_our_arguments=not (of_yolov5 or best.name == "YOLOv5"))


def is_known(column: str, kind: Columns) -> bool:
    """Check whether the meaning of a column is known."""
    loss = loss_of(column, "train") or loss_of(column, "val")
    if loss is not None:
        return loss in kind.losses
    return metric_of(column, kind.task) is not None or _OTHER.fullmatch(column) is not None


def usual_orders(length: int) -> list[tuple[str, ...]]:
    """List the column orders with this many columns that ultralytics writes, over its versions and model kinds."""
    orders = [
        ("epoch", *time, *_written(kind), *(f"lr/pg{group}" for group in range(3)))
        for kind in _KINDS
        for time in ((), ("time",))
        if kind.name != "YOLOv5"
    ]
    return [order for order in orders if len(order) == length]


def _written(kind: Columns) -> Sequence[str]:
    suffix = "" if kind.name == "YOLOv10" or kind.losses == ("loss",) else "_loss"
    return (
        *(f"train/{loss}{suffix}" for loss in kind.losses),
        *_metrics_written(kind.task),
        *(f"val/{loss}{suffix}" for loss in kind.losses),
    )


def _metrics_written(task: Task) -> Sequence[str]:
    other = [name for name, (of, _) in _OTHER_METRICS.items() if of is task]
    if other:
        return [f"metrics/{name}" for name in other]
    marks = ["B", *(mark for mark, (of, _) in _MARKS.items() if of is task)]
    return [f"metrics/{name}({mark})" for mark in marks for name in ("precision", "recall", "mAP50", "mAP50-95")]


def _task_of(names: Iterable[str]) -> Task | None:
    """Return the task that has metrics of its own among the columns; None if they could belong to a detector."""
    for name in names:
        found = _METRIC.fullmatch(name)
        if found and found[2] in _MARKS:
            return _MARKS[found[2]][0]
        if found and found[1] in _OTHER_METRICS:
            return _OTHER_METRICS[found[1]][0]
    return None
