"""Train the weights from which all runs of the benchmark start, on digits that the task does not have.

A small data set is rarely trained from random weights. From these, the default configurations learn the task, as they
do on most data that users bring.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.digits import OTHER_DIGITS, compose_digits

ARCHITECTURE = "yolov8n.yaml"

_ARGUMENTS = {
    "epochs": 24,
    "imgsz": 64,
    "batch": 8,
    "nbs": 8,
    "optimizer": "AdamW",
    "lr0": 0.001,
    "momentum": 0.9,
    "warmup_epochs": 1,
    "close_mosaic": 8,
    "seed": 0,
    "device": "cpu",
    "plots": False,
}
TRACKERS = ("clearml", "comet", "dvc", "mlflow", "neptune", "tensorboard", "wandb")
"""Settings of ultralytics that log a run elsewhere, some of them in the current folder."""
_IMAGES, _VAL_IMAGES = 384, 48


def pretrained(folder: Path) -> Path:
    """Return the weights, which are trained once in this folder, in about two minutes."""
    weights = folder / "pretrained.pt"
    if not weights.exists():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(_train, folder).result().rename(weights)
    return weights


def _train(folder: Path) -> Path:
    os.environ.update(YOLO_OFFLINE="true", YOLO_CONFIG_DIR=str(folder / "settings"))
    from ultralytics import YOLO, settings

    settings.update({name: False for name in settings if name in TRACKERS})
    data = compose_digits(folder / "pretraining", train_images=_IMAGES, val_images=_VAL_IMAGES, digits=OTHER_DIGITS)
    model = YOLO(ARCHITECTURE)
    model.train(data=str(data), project=str(folder / "pretraining"), name="run", exist_ok=True, **_ARGUMENTS)
    return folder / "pretraining/run/weights/last.pt"
