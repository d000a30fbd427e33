"""Files that hold something else than arguments of ultralytics 8, by what gives them away."""

import re
from collections.abc import Mapping

YOLOV5_NAMES = ("obj", "obj_pw", "iou_t", "anchor_t", "anchors", "fl_gamma", "loss_ota", "paste_in")
"""Hyper-parameters of YOLOv5 and its kin (YOLOv7, YOLOR), which ultralytics 8 lacks."""

_YOLOV5_ALONE = frozenset(YOLOV5_NAMES) - {"fl_gamma"}  # ultralytics 8.0 still had that one
_YOLOV5_LARGEST_BOX = 1.0
_DARKNET = re.compile(r"^\s*\[(net|network|convolutional|yolo)\]\s*$", re.MULTILINE)


def foreign_text(text: str) -> str:
    """What a text is that is no YAML of arguments, and what to do; empty where nothing gives it away."""
    if _DARKNET.search(text):
        return "this is a Darknet configuration, but arguments of ultralytics 8 are needed; write those that you mean"
    return ""


def foreign_names(values: Mapping[str, object]) -> str:
    """The same of a YAML file, by its names and values."""
    if "parameters" in values:
        return "this is a search space; give it to `tune run --space`, and its result to `tune train --params`"
    if {"train", "val"} <= values.keys() or ({"names", "nc"} & values.keys() and "train" in values):
        return "this describes a data set; give it with --data"
    if {"backbone", "head"} <= values.keys():
        return "this describes a model; give it with --model"
    return _yolov5(values)


def _yolov5(values: Mapping[str, object]) -> str:
    if {"hyp", "weights"} <= values.keys() or "noautoanchor" in values:
        return (
            "these are the options of a YOLOv5 or YOLOv7 run, its opt.yaml, but arguments of ultralytics 8 are needed; "
            "write those that you mean"
        )
    if "task" in values or "mode" in values:  # an args.yaml of ultralytics, perhaps a fork's
        return ""
    named = [f"`{name}`" for name in YOLOV5_NAMES if name in values]
    if any(name in values for name in _YOLOV5_ALONE):
        return (
            f"these are hyper-parameters of YOLOv5 or YOLOv7: {', '.join(named)} do not exist in ultralytics 8, and "
            "`box`, `cls` and `cls_pw` have other scales and meanings there; write a file of ultralytics' arguments "
            "instead, such as lr0, momentum and the augmentation"
        )
    box = values.get("box")
    if values.get("cls_pw") == 1.0 and isinstance(box, int | float) and box < _YOLOV5_LARGEST_BOX:
        return (
            f"these seem to be hyper-parameters of YOLOv5: with `box` {box} and `cls_pw` 1.0, which does nothing there "
            "and here weighs classes by their rarity; remove `box`, `cls`, `cls_pw` and what else is of its losses"
        )
    return ""


def implausible(values: Mapping[str, object]) -> list[str]:
    """Values that are allowed, and yet have another program's scale; one line each."""
    box = values.get("box")
    if isinstance(box, int | float) and 0 < box < _YOLOV5_LARGEST_BOX:
        return [
            f"`box` {box} is {7.5 / box:.0f} times smaller than ultralytics' default of 7.5: YOLOv5 and the ranges of "
            "ultralytics' Ray Tune integration have such values"
        ]
    return []
