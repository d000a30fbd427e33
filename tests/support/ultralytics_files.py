"""Files as ultralytics 8.0 to 8.4 wrote them: args.yaml with untouched defaults, and the results of `yolo tune`.

The names and defaults are those of the public default.yaml of one release of each minor version, as facts.
"""

import json
from collections.abc import Mapping, Sequence

Value = bool | int | float | str | list[object] | None

_COMMON: dict[str, Value] = {
    "task": "detect",
    "mode": "train",
    "model": "yolov8n.yaml",
    "data": "sample:16",
    "epochs": 100,
    "patience": 100,
    "batch": 16,
    "imgsz": 640,
    "save": True,
    "save_period": -1,
    "cache": False,
    "device": None,
    "workers": 8,
    "project": None,
    "name": "train",
    "exist_ok": False,
    "pretrained": True,
    "optimizer": "auto",
    "verbose": True,
    "seed": 0,
    "deterministic": True,
    "single_cls": False,
    "rect": False,
    "cos_lr": False,
    "close_mosaic": 10,
    "resume": False,
    "amp": True,
    "overlap_mask": True,
    "mask_ratio": 4,
    "dropout": 0.0,
    "val": True,
    "split": "val",
    "save_json": False,
    "conf": None,
    "iou": 0.7,
    "max_det": 300,
    "half": False,
    "dnn": False,
    "plots": True,
    "source": None,
    "vid_stride": 1,
    "visualize": False,
    "augment": False,
    "agnostic_nms": False,
    "classes": None,
    "retina_masks": False,
    "show": False,
    "save_txt": False,
    "save_conf": False,
    "save_crop": False,
    "format": "torchscript",
    "optimize": False,
    "dynamic": False,
    "simplify": True,
    "opset": None,
    "workspace": None,
    "lr0": 0.01,
    "lrf": 0.01,
    "momentum": 0.937,
    "weight_decay": 0.0005,
    "warmup_epochs": 3.0,
    "warmup_momentum": 0.8,
    "warmup_bias_lr": 0.1,
    "box": 7.5,
    "cls": 0.5,
    "dfl": 1.5,
    "nbs": 64,
    "hsv_h": 0.015,
    "hsv_s": 0.7,
    "hsv_v": 0.4,
    "degrees": 0.0,
    "translate": 0.1,
    "scale": 0.5,
    "shear": 0.0,
    "perspective": 0.0,
    "flipud": 0.0,
    "fliplr": 0.5,
    "mosaic": 1.0,
    "mixup": 0.0,
    "copy_paste": 0.0,
    "cfg": None,
    "tracker": "botsort.yaml",
    "save_dir": "runs/detect/train",
}
_EXPORT_OF_OLD: dict[str, Value] = {"keras": False, "int8": False, "nms": False, "simplify": False, "workspace": 4}
_POSE: dict[str, Value] = {"pose": 12.0, "kobj": 1.0}
_SHOWN: dict[str, Value] = {"show_labels": True, "show_conf": True, "line_width": None}
_SINCE_8_1: dict[str, Value] = {
    **_POSE,
    **_SHOWN,
    "time": None,
    "fraction": 1.0,
    "profile": False,
    "freeze": None,
    "multi_scale": False,
    "embed": None,
    "stream_buffer": False,
    "show_boxes": True,
    "save_frames": False,
    "auto_augment": "randaugment",
    "erasing": 0.4,
}
_GONE_SINCE_8_3: dict[str, Value] = {"label_smoothing": 0.0, "crop_fraction": 1.0, "save_hybrid": False}

DEFAULTS: Mapping[str, Mapping[str, Value]] = {
    # The first releases, configured by Hydra.
    "8.0.4": {
        **{name: value for name, value in _COMMON.items() if name not in ("save_period", "split", "classes", "amp")},
        **_EXPORT_OF_OLD,
        "patience": 50,
        "pretrained": False,
        "optimizer": "SGD",
        "verbose": False,
        "image_weights": False,
        "save_hybrid": False,
        "hide_labels": False,
        "hide_conf": False,
        "line_thickness": 3,
        "opset": 17,
        "fl_gamma": 0.0,
        "label_smoothing": 0.0,
        "v5loader": False,
        "hydra": None,
    },
    "8.0.50": {
        **_COMMON,
        **_EXPORT_OF_OLD,
        "patience": 50,
        "pretrained": False,
        "optimizer": "SGD",
        "image_weights": False,
        "min_memory": False,
        "save_hybrid": False,
        "hide_labels": False,
        "hide_conf": False,
        "line_thickness": 3,
        "boxes": True,
        "fl_gamma": 0.0,
        "label_smoothing": 0.0,
        "v5loader": False,
        "tracker": "botsort",
        "tracker_cfg": None,
    },
    "8.0.200": {
        **_COMMON,
        **_EXPORT_OF_OLD,
        **_POSE,
        **_SHOWN,
        "patience": 50,
        "save_hybrid": False,
        "fraction": 1.0,
        "profile": False,
        "freeze": None,
        "stream_buffer": False,
        "boxes": True,
        "label_smoothing": 0.0,
    },
    "8.1": {**_COMMON, **_EXPORT_OF_OLD, **_SINCE_8_1, **_GONE_SINCE_8_3},
    "8.2": {**_COMMON, **_EXPORT_OF_OLD, **_SINCE_8_1, **_GONE_SINCE_8_3, "bgr": 0.0},
    "8.3": {
        **_COMMON,
        **_SINCE_8_1,
        "keras": False,
        "int8": False,
        "nms": False,
        "save_hybrid": False,
        "crop_fraction": 1.0,
        "bgr": 0.0,
        "copy_paste_mode": "flip",
    },
    "8.3.230": {
        **_COMMON,
        **_SINCE_8_1,
        "keras": False,
        "int8": False,
        "nms": False,
        "bgr": 0.0,
        "cutmix": 0.0,
        "copy_paste_mode": "flip",
        "compile": False,
    },
    "8.4.0": {
        **_COMMON,
        **_SINCE_8_1,
        "keras": False,
        "int8": False,
        "nms": False,
        "multi_scale": 0.0,
        "end2end": None,
        "bgr": 0.0,
        "cutmix": 0.0,
        "copy_paste_mode": "flip",
        "compile": False,
        "cls_pw": 0.0,
        "rle": 1.0,
        "angle": 1.0,
    },
    "8.4.190": {
        **{name: value for name, value in _COMMON.items() if name != "half"},
        **_SINCE_8_1,
        "nms": None,
        "multi_scale": 0.0,
        "cls_remap": True,
        "channels_last": None,
        "quantize": None,
        "bgr": 0.0,
        "cutmix": 0.0,
        "copy_paste_mode": "flip",
        "compile": False,
        "distill_model": None,
        "dis": 6.0,
        "cls_pw": 0.0,
        "rle": 1.0,
        "angle": 1.0,
        "dlog": 1.0,
        "dgrad": 0.5,
        "dlam": 1.0,
        "tracker": "tracktrack.yaml",
    },
}
"""By version."""

_TUNED = [
    "lr0",
    "lrf",
    "momentum",
    "weight_decay",
    "warmup_epochs",
    "warmup_momentum",
    "box",
    "cls",
    "dfl",
    "hsv_h",
    "hsv_s",
    "hsv_v",
    "degrees",
    "translate",
    "scale",
    "shear",
    "perspective",
    "flipud",
    "fliplr",
    "mosaic",
    "mixup",
    "copy_paste",
]
_TUNED_HEADER = (
    "# 12/40 iterations complete\n# Best fitness=0.41 observed at iteration 9\n"
    "# Best fitness hyperparameters are printed below.\n\n"
)
TUNED: Mapping[str, Mapping[str, Value]] = {
    "8.0.200": {name: _COMMON[name] for name in _TUNED},
    "8.2": {**{name: _COMMON[name] for name in _TUNED}, "bgr": 0.0},
    "8.3": {**{name: _COMMON[name] for name in _TUNED}, "bgr": 0.0, "cutmix": 0.0, "close_mosaic": 9.0},
    "8.4.0": {**{name: _COMMON[name] for name in _TUNED}, "bgr": 0.0, "cutmix": 0.0, "close_mosaic": 9},
}
"""Content of best_hyperparameters.yaml: no optimizer, and whole numbers as 9.0 before 8.4.9."""


def yaml_of(values: Mapping[str, Value], **changes: Value) -> str:
    """Return the text as ultralytics writes it."""
    return "".join(f"{name}: {_plain(value)}\n" for name, value in {**values, **changes}.items())


def tuned_yaml(version: str) -> str:
    return _TUNED_HEADER + yaml_of(TUNED[version])


def _plain(value: Value) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]" if value else "[]"  # type: ignore[arg-type]
    return str(value) if value != "" else "''"


def tune_results_csv(iterations: Sequence[tuple[float, Mapping[str, Value]]]) -> str:
    """Return tune_results.csv of 8.0 to 8.3, from the fitness and the values of each iteration."""
    names = list(iterations[0][1])
    rows = [",".join(map(str, (fitness, *(values[name] for name in names)))) for fitness, values in iterations]
    return "".join(f"{line}\n" for line in [",".join(["fitness", *names]), *rows])


def tune_results_line(
    fitness: float, values: Mapping[str, Value], *, data: Sequence[str] = ("coco8",), failed: Sequence[str] = ()
) -> str:
    """Return a line of tune_results.ndjson, as 8.4.190 wrote it for one and for several data sets."""
    metrics = {"metrics/mAP50(B)": fitness, "metrics/mAP50-95(B)": fitness, "val/box_loss": 1.0, "fitness": fitness}
    nothing = {"metrics/mAP50-95(B)": 0.0, "fitness": 0.0}
    record = {
        "iteration": 1,
        "fitness": fitness,
        "hyperparameters": dict(values),
        "datasets": {name: nothing if name in failed else metrics for name in data},
        "save_dirs": {name: f"/runs/multitrain/{name}" for name in data},
        **({"failed_datasets": list(failed)} if failed else {}),
    }
    return f"{json.dumps(record)}\n"
