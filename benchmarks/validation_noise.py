"""Variation of trained detectors' mAP50-95 with the validation images, against the data check's estimate.

    python -m benchmarks.validation_noise DATA WEIGHTS [WEIGHTS ...] --imgsz 128

Each detector is validated once; its mAP50-95 is then computed on 400 samples of the images, drawn with replacement.
"""

import argparse
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.checking.metric_noise import Detections, expected_noise, resampled
from trainer.data.dataset import resolve
from trainer.data.dataset_writer import write_resolved
from trainer.ultralytics_bridge import environment

NUM_SAMPLES = 400


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--imgsz", type=int, default=640)
    options = parser.parse_args()
    environment.isolate()
    environment.configure()
    found = [_validated(options.data, weights, options.imgsz) for weights in options.weights]
    first, num_images = found[0]
    times = np.random.default_rng(0).multinomial(num_images, np.full(num_images, 1 / num_images), NUM_SAMPLES)
    sampled = [resampled(detections, times.astype(np.float32)) for detections, _ in found]
    lines = [
        f"{weights}: mAP50-95 {values.mean():.3f}, standard deviation {values.std():.4f}"
        for weights, values in zip(options.weights, sampled, strict=True)
    ]
    lines += [
        f"{one} less {other}: standard deviation {(a - b).std():.4f}, correlation {np.corrcoef(a, b)[0, 1]:.2f}"
        for (one, a), (other, b) in combinations(enumerate(sampled), 2)
    ]
    lines.append(f"expected: {expected_noise(first.image_of_box, first.class_of_box, num_images)}")
    sys.stdout.write("\n".join(lines) + "\n")


def _validated(data: Path, weights: Path, imgsz: int) -> tuple[Detections, int]:
    """Return a detector's detections on val, and the number of images."""
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionValidator

    kept: dict[str, list[Any]] = {}

    class Keeping(DetectionValidator):  # type: ignore[misc]
        def get_stats(self) -> Any:
            kept.update({name: list(values) for name, values in self.metrics.stats.items()})
            return super().get_stats()

    with tempfile.TemporaryDirectory() as folder:
        resolved = write_resolved(resolve(data), Path(folder) / "validated.yaml")
        options = {"data": str(resolved), "imgsz": imgsz, "plots": False, "verbose": False, "workers": 0}
        YOLO(str(weights)).val(validator=Keeping, project=folder, **options)
    confidence = np.concatenate(kept["conf"])
    order = np.argsort(-confidence, kind="stable")
    return Detections(
        image=_numbers(kept["conf"])[order],
        class_id=np.concatenate(kept["pred_cls"]).astype(np.int64)[order],
        is_true=np.concatenate(kept["tp"]).astype(bool)[order],
        image_of_box=_numbers(kept["target_cls"]),
        class_of_box=np.concatenate(kept["target_cls"]).astype(np.int64),
    ), len(kept["conf"])


def _numbers(parts: list[Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the image number of each row."""
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])


if __name__ == "__main__":
    main()
