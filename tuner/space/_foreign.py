"""Recognise files that do not contain arguments of ultralytics 8."""

import re
from collections.abc import Mapping

YOLOV5_NAMES = ("obj", "obj_pw", "iou_t", "anchor_t", "anchors", "fl_gamma", "loss_ota", "paste_in")
"""Hyper-parameters of YOLOv5 and its relatives (YOLOv7, YOLOR), which ultralytics 8 lacks."""

_YOLOV5_ALONE = frozenset(YOLOV5_NAMES) - {"fl_gamma"}  # ultralytics 8.0 still had fl_gamma
_YOLOV5_LARGEST_BOX = 1.0
_DARKNET = re.compile(r"^\s*\[(net|network|convolutional|yolo)\]\s*$", re.MULTILINE)


def foreign_text(text: str) -> str:
    """Return the kind of a text that is not YAML, with a remedy; empty if it is not recognised."""
    if _DARKNET.search(text):
        return (
            "this is a Darknet configuration, but arguments of ultralytics 8 are needed; write the arguments you need"
        )
    return ""


def foreign_names(values: Mapping[str, object]) -> str:
    """Return the kind of a YAML file that does not contain arguments, with a remedy; empty if it is not recognised."""
    if "parameters" in values:
        return "this is a search space; pass it to `tune run --space`, and its result to `tune train --params`"
    if {"train", "val"} <= values.keys() or ({"names", "nc"} & values.keys() and "train" in values):
        return "this describes a data set; pass it with --data"
    if {"backbone", "head"} <= values.keys():
        return "this describes a model; pass it with --model"
    return _yolov5(values)


def _yolov5(values: Mapping[str, object]) -> str:
    if {"hyp", "weights"} <= values.keys() or "noautoanchor" in values:
        return (
            "these are the options of a YOLOv5 or YOLOv7 run, its opt.yaml, but arguments of ultralytics 8 are needed; "
            "write the arguments you need"
        )
    if "task" in values or "mode" in values:  # an args.yaml of ultralytics, perhaps a fork's
        return ""
    named = [f"`{name}`" for name in YOLOV5_NAMES if name in values]
    if any(name in values for name in _YOLOV5_ALONE):
        return (
            f"these are hyper-parameters of YOLOv5 or YOLOv7: {', '.join(named)} do not exist in ultralytics 8, and "
            "`box`, `cls` and `cls_pw` have other scales and meanings there; write a file with ultralytics' arguments "
            "instead, such as lr0, momentum and the augmentation"
        )
    box = values.get("box")
    if values.get("cls_pw") == 1.0 and isinstance(box, int | float) and box < _YOLOV5_LARGEST_BOX:
        return (
            f"these seem to be hyper-parameters of YOLOv5: `box` is {box} and `cls_pw` is 1.0, which is neutral in "
            "YOLOv5 but weights rare classes in ultralytics 8; remove `box`, `cls`, `cls_pw` and other loss weights"
        )
    return ""


def implausible(values: Mapping[str, object]) -> list[str]:
    """List values that are allowed but have the scale of another program, one line each."""
    box = values.get("box")
    if isinstance(box, int | float) and 0 < box < _YOLOV5_LARGEST_BOX:
        return [
            f"`box` {box} is {7.5 / box:.0f} times smaller than ultralytics' default of 7.5; such values occur in "
            "YOLOv5 and in the ranges of ultralytics' Ray Tune integration"
        ]
    return []
