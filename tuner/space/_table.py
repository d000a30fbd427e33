"""Treatment of each argument in a file of ultralytics 8.0 to 8.4: one table for the code and for docs/arguments.md.

Files contain every argument, including the defaults of their version, and versions differ in names and defaults. A
value that was the default in any version is ignored. Values that change training are taken or refused, never passed
over.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tuner.space._arguments import ARGUMENTS, AUGMENTATION_STRENGTH

Untouched = bool | int | float | str


class Fate(StrEnum):
    """The treatment of an argument whose value is not a default."""

    TAKEN = "taken"
    PASSED_OVER = "passed over"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The treatment of one argument."""

    name: str
    fate: Fate
    says: str = ""
    """Normalisation of the value, reason for passing it over, or reason for refusing it with a remedy; empty if there
    is nothing to report. An argument that is passed over without a reason gives no message."""
    untouched: tuple[Untouched, ...] = ()
    """Defaults of all versions, which are ignored, as null is."""
    versions: str = "8.0 to 8.4"

    def is_untouched(self, value: object) -> bool:
        """Check whether a value is a default of any version; older files write null as `None`."""
        if value is None or value == "None":
            return True
        return any(type(value) is type(default) and value == default for default in self.untouched)


_WHOLE = "16.0 is read as 16"
_TAKEN = {
    "model": "`--model` overrides it",
    "data": "`--data` overrides it",
    "epochs": f"{_WHOLE}; `--epochs` overrides it",
    "seed": f"{_WHOLE}; `--seed` overrides it",
    "patience": f"{_WHOLE}; `--patience` overrides it",
    "distill_model": "`--distill` overrides it",
    "optimizer": "case does not matter; no value and `auto`, which ignores lr0 and momentum, are refused: "
    "use `--set optimizer=SGD`",
    "batch": f"{_WHOLE}; an automatic size (-1, 0.9) is refused: give a number, or use `--batch auto`",
    "imgsz": f"{_WHOLE}; [640, 480] is read as the larger value; rounded up to a multiple of 32, as in ultralytics",
    "freeze": f"{_WHOLE}; [0, 1, 2] is read as 3; other lists and names are refused",
    "multi_scale": "`true` of 8.1 to 8.3 is read as 0.5",
    "close_mosaic": "8.7 of `yolo tune` is read as 9",
    "nbs": _WHOLE,
    "max_det": _WHOLE,
    "fraction": "a share above 0 and at most 1; a count or a list is refused",
    "scale": "one number; a pair is refused",
}
_SINCE = {
    "multi_scale": "8.1 to 8.4",
    "bgr": "8.2 to 8.4",
    "copy_paste_mode": "8.3 to 8.4",
    "cutmix": "8.3 to 8.4",
    "compile": "8.3 to 8.4",
    "cls_pw": "8.4",
    "distill_model": "8.4",
    "dis": "8.4",
    "channels_last": "8.4",
}


def _taken() -> Iterable[Row]:
    names = [*("model", "data", "epochs", "seed", "patience", "distill_model", "dis"), *ARGUMENTS]
    for name in names:
        if name != AUGMENTATION_STRENGTH:
            yield Row(name=name, fate=Fate.TAKEN, says=_TAKEN.get(name, ""), versions=_SINCE.get(name, "8.0 to 8.4"))


def _passed_over(
    says: str, defaults: Mapping[str, tuple[Untouched, ...]], versions: str = "8.0 to 8.4"
) -> Iterable[Row]:
    for name, untouched in defaults.items():
        yield Row(name=name, fate=Fate.PASSED_OVER, says=says, untouched=untouched, versions=versions)


def _refused(name: str, says: str, *untouched: Untouched, versions: str = "8.0 to 8.4") -> Row:
    return Row(name=name, fate=Fate.REFUSED, says=says, untouched=untouched, versions=versions)


_OTHER_TASKS = "for tasks other than detection"
_PREDICTION = "for prediction and export, not for training"
_VALIDATION = "validation uses ultralytics' defaults, after every epoch"
_DRAWING = "for drawing, not for training"
_RUN = {"mode": ("train",), **dict.fromkeys(("project", "name", "save_dir", "exist_ok", "cfg"), ())}

_ROWS: tuple[Row, ...] = (
    *_taken(),
    # Locations and mode of the old run; a new run has its own.
    *_passed_over("", _RUN),
    *_passed_over("", {"hydra": (), "defaults": ()}, "8.0"),
    *_passed_over("`--gpus` and the machine decide", {"device": ("",), "workers": (8,)}),
    *_passed_over("every epoch is saved; see `--save-period`", {"save": (True,), "save_period": (-1,)}),
    *_passed_over("for reports, not for training", {"verbose": (True, False), "plots": (True,)}),
    *_passed_over("for reports, not for training", {"profile": (False,)}),
    *_passed_over(_VALIDATION, {"val": (True,), "split": ("val",), "save_json": (False,)}),
    *_passed_over(_VALIDATION, {"conf": (0.001,), "half": (False,)}),
    *_passed_over(_VALIDATION, {"save_hybrid": (False,)}, "8.0 to 8.3"),
    *_passed_over(_VALIDATION, {"end2end": ()}, "8.4"),
    *_passed_over(_VALIDATION, {"val_period": (1,)}, "forks"),
    *_passed_over(
        _PREDICTION,
        {
            "source": (),
            "vid_stride": (1,),
            "visualize": (False,),
            "augment": (False,),
            "retina_masks": (False,),
            "dnn": (False,),
            "format": ("torchscript",),
            "optimize": (False,),
            "int8": (False,),
            "dynamic": (False,),
            "simplify": (False, True),
            "opset": (17,),
            "workspace": (4, 4.0),
            "nms": (False,),
            "tracker": ("botsort", "botsort.yaml", "tracktrack.yaml"),
            "save_txt": (False,),
            "save_conf": (False,),
            "save_crop": (False,),
        },
    ),
    *_passed_over(_PREDICTION, {"stream_buffer": (False,), "keras": (False,)}),
    *_passed_over(_PREDICTION, {"embed": (), "save_frames": (False,)}, "8.1 to 8.4"),
    *_passed_over(_PREDICTION, {"tracker_cfg": (), "roboflow_api_key": ()}, "8.0"),
    *_passed_over(_DRAWING, {"show": (False,), "show_labels": (True,), "show_conf": (True,)}),
    *_passed_over(_DRAWING, {"show_boxes": (True,)}, "8.1 to 8.4"),
    *_passed_over(_DRAWING, {"line_width": ()}),
    *_passed_over(
        _DRAWING,
        {"boxes": (True,), "hide_labels": (False,), "hide_conf": (False,), "line_thickness": (3,)},
        "8.0",
    ),
    *_passed_over("it saved memory and does not change what is learnt", {"min_memory": (False,)}, "8.0"),
    *_passed_over(_OTHER_TASKS, {"overlap_mask": (True,), "mask_ratio": (4,), "dropout": (0.0,)}),
    *_passed_over(_OTHER_TASKS, {"pose": (12.0,), "kobj": (1.0,)}),
    *_passed_over(_OTHER_TASKS, {"auto_augment": ("randaugment",), "erasing": (0.4,)}, "8.1 to 8.4"),
    *_passed_over(_OTHER_TASKS, {"crop_fraction": (1.0,)}, "8.1 to 8.3"),
    *_passed_over(_OTHER_TASKS, {"rle": (1.0,), "angle": (1.0,)}, "8.4"),
    *_passed_over(_OTHER_TASKS, {"dlog": (1.0,), "dgrad": (0.5,), "dlam": (1.0,)}, "8.4"),
    _refused("task", "names another task, but only detectors are supported; use the arguments of a detector", "detect"),
    _refused(
        "classes",
        "trains on some classes of the data set only, which is not supported; create a data set with those classes and "
        "remove the line",
    ),
    _refused(
        "time",
        "limits training to a number of hours and adapts the schedule, which is not supported; set `epochs` "
        "and remove the line",
        0,
        0.0,
        versions="8.1 to 8.4",
    ),
    _refused(
        "pretrained",
        "selects the initial weights, which follow from the model; give weights (a .pt) or a YAML with --model",
        True,
        False,
    ),
    _refused(
        "resume",
        "resumes another run, so `model` is not the initial model; give that with --model, or continue "
        "from the best weights with --warm-restart RUN",
        False,
    ),
    _refused(
        "image_weights",
        "was removed from ultralytics; search `cls_pw` for rare classes and remove the line",
        False,
        versions="8.0",
    ),
    _refused(
        "v5loader",
        "loads images as YOLOv5 did, which was removed from ultralytics; remove the line",
        False,
        versions="8.0",
    ),
    _refused(
        "fl_gamma",
        "is the focal loss of YOLOv5, which was removed from ultralytics; remove the line",
        0.0,
        versions="8.0",
    ),
    _refused("label_smoothing", "was removed from ultralytics; leave it out", 0.0, versions="8.0 to 8.3"),
    _refused(
        "cls_remap",
        "keeps the class rows of pretrained weights, which is not supported; remove the line",
        True,
        versions="8.4",
    ),
    _refused(
        "quantize",
        "trains for quantisation, which is not supported; quantise the trained model instead",
        versions="8.4",
    ),
    _refused(
        "augmentations",
        "is a list of Albumentations, which cannot be passed to the trainer; use the augmentation arguments",
        versions="8.4",
    ),
)

TABLE: dict[str, Row] = {row.name: row for row in sorted(_ROWS, key=lambda row: row.name)}
