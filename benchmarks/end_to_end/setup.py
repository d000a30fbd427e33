"""Describe the task that all tools get, and the folder and environment of one command."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.digits import compose_digits
from benchmarks.end_to_end.pretraining import TRACKERS, pretrained

MODEL = "model.pt"
"""Initial weights, in the folder of each command."""
METRIC = "metrics/mAP50-95(B)"

# Also brings the packages into the memory of the system, so that no tool pays for being the first.
_PREPARATION = """
import optuna, ray.tune
from ultralytics import YOLO, settings
settings.update({name: False for name in settings if name in %r})
"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Task of one search. Every tool gets the same; a full run takes about a minute on one CPU core."""

    budget_s: float = 390.0
    """Wall time of the whole command in seconds, start-up included."""
    epochs: int = 27
    imgsz: int = 64
    batch: int = 8
    train_images: int = 96
    val_images: int = 48

    def arguments(self, data: Path, seed: int) -> dict[str, Any]:
        """Return the arguments of ultralytics' `train` that no tool searches."""
        return {
            "data": str(data),
            "epochs": self.epochs,
            "imgsz": self.imgsz,
            "batch": self.batch,
            "nbs": self.batch,  # an optimizer step after each batch; the default of 64 leaves too few in a short run
            "seed": seed,
            "device": "cpu",
            "plots": False,
        }


def prepared(folder: Path, task: Task) -> tuple[Path, dict[str, str]]:
    """Make the folder of one command with fresh caches and settings; return the data set file and the environment."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(pretrained(folder.parent), folder / MODEL)
    file = compose_digits(folder / "data", train_images=task.train_images, val_images=task.val_images)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
        "XDG_CACHE_HOME": str(folder / "cache"),
        "YOLO_CONFIG_DIR": str(folder / "settings"),
        "YOLO_OFFLINE": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-c", _PREPARATION % (TRACKERS,)]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return file, environment
