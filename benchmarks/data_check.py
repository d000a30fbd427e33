"""How long a look at every picture and label takes: our scan against ultralytics' own.

    python -m benchmarks.data_check [--pictures 2000] [--width 640 --height 480] [--rounds 5]

Our scan decodes every picture, as training will, and makes the small versions by which near-duplicates are found;
ultralytics' decodes none. The second scan of the same pictures knows them by their content. The pictures are made up,
JPEG at quality 90 with 8 boxes each. Each contestant runs in a process of its own, by turns.
ultralytics scans in threads, one less than there are cores by default; the row with more threads is what it could do.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data.checking.duplicates import comparable, near_twins
from trainer.data.checking.scan import Reading, scan
from trainer.data.dataset import resolve

NUM_BOXES = 8


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        sys.stdout.write(f"{CONTESTANTS[options.contestant](options.data)}\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        data = make(Path(folder) / "data", options.pictures, options.width, options.height)
        size = statistics.median(path.stat().st_size for path in (data.parent / "images/train").iterdir())
        times: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for _ in range(options.rounds):
            for name in CONTESTANTS:
                command = [sys.executable, "-m", "benchmarks.data_check", "--contestant", name, "--data", str(data)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                times[name].append(float(done.stdout.splitlines()[-1]) / options.pictures * 1e6)
    load = os.getloadavg()[0]
    sys.stdout.write(
        f"{options.pictures} pictures of {options.width} x {options.height} pixels, {size / 1000:.0f} kB; "
        f"{len(os.sched_getaffinity(0))} cores, load {load:.1f} at the end; microseconds a picture, median of rounds\n"
    )
    stock = statistics.median(times["ultralytics"])
    for name, each in times.items():
        median = statistics.median(each)
        sys.stdout.write(f"{name:<28}{median:>8.0f}   {stock / median:.2f} times as fast as ultralytics\n")


def make(root: Path, pictures: int, width: int, height: int) -> Path:
    """A data set of made-up pictures: smooth shapes and some noise, so that they are as large as photographs."""
    rng = np.random.default_rng(0)
    for split, number in (("train", pictures), ("val", 1)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(number):
            coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
            pixels = np.asarray(coarse, np.int16) + rng.integers(-8, 9, (height, width, 1), np.int16)
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(root / f"images/{split}/{index:06}.jpg", quality=90)
            rows = rng.uniform(0.2, 0.6, (NUM_BOXES, 4)).round(6)
            text = "".join(f"{k % 3} {x} {y} {w / 3:.6f} {h / 3:.6f}\n" for k, (x, y, w, h) in enumerate(rows))
            (root / f"labels/{split}/{index:06}.txt").write_text(text)
    (root / "dataset.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b, c]\n")
    return root / "dataset.yaml"


def _pictures(data: Path) -> list[Path]:
    return [picture.path for picture in resolve(data).splits["train"].pictures]


def _ours(data: Path) -> float:
    pictures = _pictures(data)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        start = time.perf_counter()
        scan(pictures, Reading(num_classes=3))
        return time.perf_counter() - start


def _again(data: Path) -> float:
    pictures = _pictures(data)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        scan(pictures, Reading(num_classes=3))
        start = time.perf_counter()
        scan(pictures, Reading(num_classes=3))
        return time.perf_counter() - start


def _near_duplicates(data: Path) -> float:
    pictures = _pictures(data)
    small = scan(pictures, Reading(num_classes=3)).small
    start = time.perf_counter()
    near_twins(comparable(small), [range(len(pictures))])
    return time.perf_counter() - start


def _ultralytics(data: Path, threads: int | None = None) -> float:
    """The stock scan, without a cache."""
    from trainer.ultralytics_bridge import environment

    environment.isolate()
    environment.configure()
    from ultralytics.data import dataset

    if threads is not None:
        dataset.NUM_THREADS = threads
    names = {0: "a", 1: "b", 2: "c"}
    kept = dataset.YOLODataset.cache_labels
    took: list[float] = []

    def timed(self: object, path: Path) -> object:
        start = time.perf_counter()
        found = kept(self, path)
        took.append(time.perf_counter() - start)
        return found

    dataset.YOLODataset.cache_labels = timed
    for cache in data.parent.rglob("*.cache"):
        cache.unlink()
    dataset.YOLODataset(img_path=str(data.parent / "images/train"), data={"names": names, "channels": 3}, task="detect")
    return took[0]


def _ultralytics_more_threads(data: Path) -> float:
    return _ultralytics(data, threads=len(os.sched_getaffinity(0)))


CONTESTANTS = {
    "ultralytics": _ultralytics,
    "ultralytics, all cores": _ultralytics_more_threads,
    "our scan": _ours,
    "our scan, again": _again,
    "our near-duplicates": _near_duplicates,
}


if __name__ == "__main__":
    main()
