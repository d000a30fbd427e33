"""Time to check every image and label: our scan against ultralytics' own.

    python -m benchmarks.data_check [--images 2000] [--width 640 --height 480] [--rounds 5]

Our scan decodes every image, as training does, and makes thumbnails to find near-duplicates; ultralytics decodes none.
The second scan of the same images recognises them by their content. The images are synthetic JPEGs of quality 90 with 8
boxes each. Each contestant runs in its own process, in alternation. ultralytics scans in threads, by default one fewer
than there are cores; the row with more threads shows what it could reach.
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
    parser.add_argument("--images", type=int, default=2000)
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
        data = make(Path(folder) / "data", options.images, options.width, options.height)
        size = statistics.median(path.stat().st_size for path in (data.parent / "images/train").iterdir())
        times: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for _ in range(options.rounds):
            for name in CONTESTANTS:
                command = [sys.executable, "-m", "benchmarks.data_check", "--contestant", name, "--data", str(data)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                times[name].append(float(done.stdout.splitlines()[-1]) / options.images * 1e6)
    load = os.getloadavg()[0]
    sys.stdout.write(
        f"{options.images} images of {options.width} x {options.height} pixels, {size / 1000:.0f} kB; "
        f"{len(os.sched_getaffinity(0))} cores, load {load:.1f} at the end; microseconds an image, median of rounds\n"
    )
    stock = statistics.median(times["ultralytics"])
    for name, each in times.items():
        median = statistics.median(each)
        sys.stdout.write(f"{name:<28}{median:>8.0f}   {stock / median:.2f} times as fast as ultralytics\n")


def make(root: Path, images: int, width: int, height: int) -> Path:
    """Create a data set of synthetic images: smooth shapes and some noise, for file sizes like photographs."""
    rng = np.random.default_rng(0)
    for split, number in (("train", images), ("val", 1)):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(number):
            coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
            pixels = np.asarray(coarse, np.int16) + rng.integers(-8, 9, (height, width, 1), np.int16)
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(root / f"images/{split}/{index:06}.jpg", quality=90)
            rows = rng.uniform(0.2, 0.6, (NUM_BOXES, 4)).round(6)
            text = "".join(f"{k % 3} {x} {y} {w / 3:.6f} {h / 3:.6f}\n" for k, (x, y, w, h) in enumerate(rows))
            (root / f"labels/{split}/{index:06}.txt").write_text(text)
    (root / "dataset.yaml").write_text("train: images/train\nval: images/val\nnames: [a, b, c]\n")
    return root / "dataset.yaml"


def _images(data: Path) -> list[Path]:
    return [image.path for image in resolve(data).splits["train"].images]


def _ours(data: Path) -> float:
    images = _images(data)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        start = time.perf_counter()
        scan(images, Reading(num_classes=3))
        return time.perf_counter() - start


def _again(data: Path) -> float:
    images = _images(data)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        scan(images, Reading(num_classes=3))
        start = time.perf_counter()
        scan(images, Reading(num_classes=3))
        return time.perf_counter() - start


def _near_duplicates(data: Path) -> float:
    images = _images(data)
    small = scan(images, Reading(num_classes=3)).small
    start = time.perf_counter()
    near_twins(comparable(small), [range(len(images))])
    return time.perf_counter() - start


def _ultralytics(data: Path, threads: int | None = None) -> float:
    """Time the stock scan in seconds, without a cache."""
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
