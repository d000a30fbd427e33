"""Speed and memory of two trials at once, with decoded images shared, kept by ultralytics, or not kept at all.

    python -m benchmarks.feeding [--images 300] [--epochs 4] [--rounds 3]            # two trials
    python -m benchmarks.feeding --loaders [--images 300] [--epochs 4] [--rounds 3]  # their data loading alone
    python -m benchmarks.feeding --reading [--images 300] [--rounds 3]               # ways to get at one image

The images are synthetic JPEGs of quality 90. Trials train yolov8n through the product's own trainer, with one thread
each; on a CPU they load data in the training process. Loading alone uses one process for each of two loaders, and all
augmentation of training. All contestants of a round take turns, each with an empty cache folder. Memory is the
proportional set size (PSS) of all processes of the trials, which counts shared pages once, at its peak; decoded images
in files are in the page cache, which is not part of it. Processor time says more than speed if the machine is not idle.
"""

import argparse
import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.data_check import make
from tuner.contract import (
    EndRecord,
    EpochRecord,
    Outcome,
    PreparedRecord,
    PrepareRequest,
    Record,
    StartedRecord,
    TrainRequest,
)
from tuner.execution.trainer_process import TrainerProcess

TRIALS = 2
IMGSZ, BATCH = 320, 16
PLENTY_BYTES = 2**40


@dataclass(frozen=True, kw_only=True, slots=True)
class Contestant:
    """A way to keep decoded images."""

    cache: str = ""
    """ultralytics' argument `cache`."""
    shared: bool = False
    filled: bool = False
    """True if an earlier trial has filled the cache."""


CONTESTANTS: Mapping[str, Contestant] = {
    "decoded in each epoch": Contestant(),
    "shared": Contestant(shared=True),
    "shared, filled by an earlier trial": Contestant(shared=True, filled=True),
    "`cache: disk`": Contestant(cache="disk"),
    "`cache: ram`": Contestant(cache="ram"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Measurement of two trials, or two loaders."""

    rate: float
    """Epochs per minute or images per second, of both together, from start to end."""
    later_rate: float
    """The same after the first epoch."""
    cpu_s: float
    """Processor time after the first epoch in seconds: of an epoch of a trial, or of 1000 images."""
    pss_mib: float
    files_mib: float
    """Size of the decoded images in files."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loaders", action="store_true", help="data loading alone")
    parser.add_argument("--reading", action="store_true", help="ways to get at one image")
    parser.add_argument("--loader", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loader:
        load(options.data, CONTESTANTS[options.loader], options.epochs)
        return
    if options.reading:
        sys.stdout.write(reading(options.images, options.width, options.height, options.rounds))
        return
    measure = loaders if options.loaders else trials
    # A filled cache only saves a trial's first epoch, which the times of the others do not contain.
    names = [name for name, contestant in CONTESTANTS.items() if options.loaders or not contestant.filled]
    results: dict[str, list[Result]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        data = make(Path(folder) / "data", options.images, options.width, options.height)
        for _ in range(options.rounds):
            for name in names:
                results[name].append(measured(measure, data, name, options.epochs))
                sys.stderr.write(f"{name}: {results[name][-1]}\n")
    what = "images per second" if options.loaders else "epochs per minute"
    unit = "1000 images" if options.loaders else "an epoch"
    sys.stdout.write(
        f"{options.images} images of {options.width} x {options.height} pixels at imgsz {IMGSZ}, batch {BATCH}, "
        f"{options.epochs} epochs, {options.rounds} rounds; {len(os.sched_getaffinity(0))} cores, load "
        f"{os.getloadavg()[0]:.1f} at the end\n\n"
        f"| medians of the rounds | {what} | after the first epoch | ratio in the same round | "
        f"processor time of {unit} | ratio in the same round | peak PSS | files |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|\n"
    )
    first = next(iter(results.values()))
    for name, each in results.items():
        ratios = [r.later_rate / b.later_rate for r, b in zip(each, first, strict=True)]
        cpu = [r.cpu_s / b.cpu_s for r, b in zip(each, first, strict=True)]
        sys.stdout.write(
            f"| {name} | {_median(r.rate for r in each):,.1f} | {_median(r.later_rate for r in each):,.1f} | "
            f"{_range(ratios)} | {_median(r.cpu_s for r in each):.1f} s | {_range(cpu)} | "
            f"{_median(r.pss_mib for r in each):,.0f} MiB | {_median(r.files_mib for r in each):,.0f} MiB |\n"
        )


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _range(values: Sequence[float]) -> str:
    return f"{_median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def measured(measure: Callable[[Path, str, int, Path], Result], data: Path, name: str, epochs: int) -> Result:
    """Measure a contestant with a cache folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        if CONTESTANTS[name].filled:
            measure(data, name, 1, Path(folder))
        return measure(data, name, epochs, Path(folder))


def trials(data: Path, name: str, epochs: int, folder: Path) -> Result:
    """Train two trials at once."""
    servers = [TrainerProcess([sys.executable, "-m", "trainer", "serve"]) for _ in range(TRIALS)]
    try:
        (study := folder / "study").mkdir(exist_ok=True)
        prepared = _prepared(servers[0], PrepareRequest(data=str(data), model="yolov8n.yaml", directory=str(study)))
        for server in servers:  # the imports of the first trial are not part of what is measured
            warm_up = replace(_request(prepared, Contestant(), 1, folder / f"warm-{epochs}"), max_images=BATCH)
            _heard([server], [warm_up])
        requests = [
            _request(prepared, CONTESTANTS[name], epochs, folder / f"trial-{epochs}-{number}")
            for number in range(TRIALS)
        ]
        began = time.monotonic()
        with Peak() as peak:
            heard = _heard(servers, requests)
        took_s = time.monotonic() - began
        later_s = [sum(record.seconds for record, _ in records[1:]) / max(epochs - 1, 1) for records in heard]
        cpu_s = [(records[-2][1] - records[0][1]) / (epochs - 2) if epochs > 2 else 0.0 for records in heard]
        return Result(
            rate=TRIALS * epochs / took_s * 60,
            later_rate=sum(60 / each for each in later_s if each),
            cpu_s=statistics.mean(cpu_s),
            pss_mib=peak.mib,
            files_mib=_files_mib(folder),
        )
    finally:
        for server in servers:
            server.close()


def _prepared(server: TrainerProcess, request: PrepareRequest) -> PreparedRecord:
    server.send(request)
    records: list[Record] = []
    while not any(isinstance(record, EndRecord) for record in records):
        records += server.receive(timeout_s=1)
    return next(record for record in records if isinstance(record, PreparedRecord))


def _request(prepared: PreparedRecord, contestant: Contestant, epochs: int, directory: Path) -> TrainRequest:
    return TrainRequest(
        study="feeding",
        trial=0,
        params={
            "imgsz": IMGSZ,
            "batch": BATCH,
            "optimizer": "SGD",
            "lr0": 0.01,
            "close_mosaic": 0,
            "warmup_epochs": 0.0,
            **({"cache": contestant.cache} if contestant.cache else {}),
        },
        model=prepared.model,
        data=prepared.data,
        epochs=epochs,
        stop_epoch=epochs,
        validation_epochs=(epochs,),
        seed=0,
        devices=(),
        threads=1,
        directory=str(directory),
        image_cache_bytes=PLENTY_BYTES if contestant.shared else 0,
    )


def _heard(
    servers: Sequence[TrainerProcess], requests: Sequence[TrainRequest]
) -> list[list[tuple[EpochRecord, float]]]:
    """Send each server its request, and return the epochs of each, with its processor time in seconds by then."""
    heard: list[list[tuple[EpochRecord, float]]] = [[] for _ in servers]
    processes: dict[int, psutil.Process] = {}
    busy = set(range(len(requests)))
    for server, request in zip(servers, requests, strict=True):
        server.send(request)
    while busy:
        for number in sorted(busy):
            for record in servers[number].receive(timeout_s=0.05):
                if isinstance(record, StartedRecord):
                    processes[number] = psutil.Process(record.pid)
                if isinstance(record, EpochRecord):
                    heard[number].append((record, _cpu_s(processes[number])))
                if isinstance(record, EndRecord):
                    busy.discard(number)
                    if record.outcome != Outcome.COMPLETED:
                        raise RuntimeError(f"a trial did not complete: {record}")
    return heard


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it ended after its last epoch, which therefore does not count
        return 0.0
    return float(times.user + times.system)


def loaders(data: Path, name: str, epochs: int, folder: Path) -> Result:
    """Load data in two processes at once, with one loading process each."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.feeding",
        "--loader",
        name,
        "--data",
        str(data),
        "--epochs",
        str(epochs),
    ]
    with Peak() as peak:
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(TRIALS)]
        outputs = [process.communicate()[0] for process in both]
    rates = [tuple(map(float, output.splitlines()[-1].split())) for output in outputs]
    return Result(
        rate=sum(rate for rate, _, _ in rates),
        later_rate=sum(later for _, later, _ in rates),
        cpu_s=statistics.mean(cpu for _, _, cpu in rates),
        pss_mib=peak.mib,
        files_mib=_files_mib(folder),
    )


def load(data: Path, contestant: Contestant, epochs: int) -> None:
    """Pass over the images; print images per second, the same after the first epoch, and the time of 1000 images."""
    from trainer.ultralytics_bridge import environment

    environment.configure()
    import torch
    from ultralytics.cfg import get_cfg
    from ultralytics.data.build import build_dataloader, build_yolo_dataset

    from trainer.ultralytics_bridge import determinism, shared_images, training

    torch.set_num_threads(1)
    assert training
    shared_images.share(PLENTY_BYTES if contestant.shared else 0)
    args = get_cfg(overrides={"task": "detect", "imgsz": IMGSZ, "cache": contestant.cache or False})
    about = {"names": {0: "a", 1: "b", 2: "c"}, "channels": 3}
    seconds: list[float] = []
    cpu_s: list[float] = []
    began = time.perf_counter()
    dataset = build_yolo_dataset(args, str(data.parent / "images/train"), batch=BATCH, data=about, mode="train")
    loader = build_dataloader(dataset, batch=BATCH, workers=1, shuffle=True, rank=-1)
    determinism.in_epochs(loader, seed=0, rank=-1, num_ranks=1)
    for _ in range(epochs):
        for _batch in loader:
            pass
        seconds.append(time.perf_counter() - began)
        cpu_s.append(sum(map(_cpu_s, psutil.Process().children())))
        began = time.perf_counter()
    later = len(dataset) * (epochs - 1) / sum(seconds[1:]) if epochs > 1 else 0.0
    cpu = 1000 * (cpu_s[-1] - cpu_s[0]) / (len(dataset) * max(epochs - 1, 1))
    sys.stdout.write(f"{len(dataset) * epochs / sum(seconds)} {later} {cpu}\n")


def reading(images: int, width: int, height: int, rounds: int) -> str:
    """Time ways to get at a decoded image and to copy it into a mosaic, and return a table."""
    from trainer.ultralytics_bridge import environment

    environment.configure()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        data = make(Path(folder) / "data", images, width, height)
        files = sorted((data.parent / "images/train").iterdir())
        for imgsz in (IMGSZ, max(width, height)):
            size = (imgsz * width // max(width, height), imgsz * height // max(width, height))
            ways = _ways(files, size, Path(folder))
            canvas = np.zeros((imgsz, imgsz, 3), np.uint8)
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    began = time.process_time()
                    for number in range(images):
                        canvas[: size[1], : size[0]] = way(number)
                    times[name].append((time.process_time() - began) / images * 1e3)
            rows += [f"| {name} | {imgsz} | {_median(each):.2f} ms |\n" for name, each in times.items()]
    return f"| {width} x {height} | imgsz | processor time of an image |\n|---|---:|---:|\n{''.join(rows)}"


def _ways(
    files: Sequence[Path], size: tuple[int, int], folder: Path
) -> Mapping[str, Callable[[int], NDArray[np.uint8]]]:
    """Write the images in each form; return functions that load one by its number. `size` is width and height."""
    from trainer.system.decoded_images import Decoded, DecodedImages
    from trainer.ultralytics_bridge.reading import read

    shared = DecodedImages(PLENTY_BYTES)
    keys = [f"{size[0]:08x}{number:024x}" for number in range(len(files))]
    arrays = [folder / f"{number}.npy" for number in range(len(files))]
    for file, key, array in zip(files, keys, arrays, strict=True):
        pixels = cv2.resize(read(str(file)), size).astype(np.uint8)
        shared.add(key, Decoded(pixels, size[::-1]))
        np.save(array, pixels)

    def ours(number: int) -> NDArray[np.uint8]:
        found = shared.get(keys[number])
        assert found is not None
        return found.pixels

    return {
        "JPEG, decoded and resized": lambda number: cv2.resize(read(str(files[number])), size).astype(np.uint8),
        "our file, read and checked": ours,
        "`.npy`, read by `np.load`": lambda number: np.load(arrays[number]),
        "`.npy`, mapped by `np.load`": lambda number: np.load(arrays[number], mmap_mode="c"),
        "`.npy`, mapped by `mmap` alone": lambda number: _mapped(arrays[number], size),
    }


def _mapped(file: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    with file.open("rb") as opened:
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.frombuffer(content, np.uint8, offset=128).reshape(size[1], size[0], 3)


def _files_mib(folder: Path) -> float:
    kept = folder / "cache" / "mamba-yolo-tuner"
    files = [path for kind in ("decoded", "images") for path in (kept / kind).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 2**20


class Peak:
    """Highest sum of the PSS of all child processes while the block runs."""

    mib = 0.0

    def __enter__(self) -> "Peak":
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.3):
            self.mib = max(self.mib, sum(map(_pss_mib, psutil.Process().children(recursive=True))))


def _pss_mib(process: psutil.Process) -> float:
    try:
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except OSError:  # it has ended
        return 0.0
    return next(float(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 2**10


if __name__ == "__main__":
    main()
