"""Load of one driver with many slots: how well slots are used, and what the driver and Ray take.

    python -m benchmarks.slots [--slots 16 64 128] [--epoch-s 5 60]

Trials play a script instead of training, on real Ray on this machine, whatever its cores: a slot needs about 140 MiB.
Everything is measured while all slots train, from the start of the last one until no new trial is left.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.report import say, table
from tuner.study import read_timeline

_TRAINER = Path(__file__).parents[1] / "tests" / "support" / "scripted_trainer.py"

_SPACE = """
search: {epochs: 9, rungs: [1, 3], trials: %d, sampler: random, promote_epochs: 1, reevaluation_runs: 0}
parameters:
  optimizer: SGD
  batch: 16
  imgsz: 64
  lr0: {float: [0.0001, 0.1], log: true}
baseline: {lr0: 0.01}
data: sample
model: mamba-yolo-n
"""

_TRIALS_PER_SLOT = 4
_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """Load of a search with many slots."""

    slots: int
    epoch_s: float
    used: float
    """Share of the slots' time that trials trained, 0..1."""
    epochs_per_s: float
    driver_cpu: float
    """Cores that the driver kept busy."""
    ray_cpu: float
    """Cores that Ray's servers and the actors kept busy, without the trainers."""
    memory_gib: float
    """Memory of all processes at the end."""


def measured(slots: int, epoch_s: float, folder: Path) -> Load:
    """Search with this many slots."""
    (folder / "space.yaml").write_text(_SPACE % (_TRIALS_PER_SLOT * slots), encoding="utf-8")
    trainer = f"{sys.executable} {_TRAINER} --epoch-seconds {epoch_s} --journal {folder / 'journal'}"
    options = ["--space=space.yaml", "--study=s", "--plain", "--no-promote", f"--parallel={slots}", "--gpus=0"]
    command = [sys.executable, "-m", "tuner", "run", *options, f"--trainer={trainer}"]
    with (folder / "output").open("wb") as output:
        driver = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    timeline = folder / "studies" / "s" / "timeline.jsonl"
    first = last = (0.0, 0.0, 0.0)
    memory_bytes = 0
    while driver.poll() is None:
        time.sleep(_POLL_S)
        spans = read_timeline(timeline) if timeline.exists() else []
        running = sum(span.ended_s is None for span in spans)
        if running < slots:
            continue
        now = _cpu_s(driver.pid)
        first = first if first[0] else now
        last = now
        memory_bytes = max(memory_bytes, _memory(driver.pid))
    if driver.returncode != 0:
        sys.exit((folder / "output").read_text(encoding="utf-8", errors="replace")[-2000:])
    wall_s = last[0] - first[0]
    ended = [json.loads(line) for line in (folder / "journal").read_text().splitlines() if '"epoch"' in line]
    times_s = sorted(event["time"] for event in ended if event["event"] == "epoch")
    inside = [at for at in times_s if first[0] <= at <= last[0]]
    return Load(
        slots=slots,
        epoch_s=epoch_s,
        used=len(inside) * epoch_s / (slots * wall_s),
        epochs_per_s=len(inside) / wall_s,
        driver_cpu=(last[1] - first[1]) / wall_s,
        ray_cpu=(last[2] - first[2]) / wall_s,
        memory_gib=memory_bytes / 2**30,
    )


def _cpu_s(driver: int) -> tuple[float, float, float]:
    """Return the time, the CPU time of the driver and that of Ray's processes, in seconds."""
    process = psutil.Process(driver)
    ray_s = 0.0
    for child in process.children(recursive=True):
        try:
            if "scripted_trainer" not in " ".join(child.cmdline()):
                ray_s += sum(child.cpu_times()[:2])
        except psutil.Error:
            continue
    return time.monotonic(), sum(process.cpu_times()[:2]), ray_s


def _memory(driver: int) -> int:
    total = 0
    for process in [psutil.Process(driver), *psutil.Process(driver).children(recursive=True)]:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[16, 64, 128])
    parser.add_argument("--epoch-s", type=float, nargs="+", default=[5.0, 60.0])
    options = parser.parse_args()
    rows = []
    for epoch_s in options.epoch_s:
        for slots in options.slots:
            with tempfile.TemporaryDirectory() as folder:
                load = measured(slots, epoch_s, Path(folder))
            rows.append(
                [
                    f"{load.slots}",
                    f"{load.epoch_s:g} s",
                    f"{load.used:.1%}",
                    f"{load.epochs_per_s:.1f}",
                    f"{load.driver_cpu:.2f}",
                    f"{load.ray_cpu:.2f}",
                    f"{load.memory_gib:.1f}",
                ]
            )
            say(" ".join(rows[-1]))
    say(table(["slots", "epoch", "slots used", "epochs/s", "driver, cores", "Ray, cores", "memory, GiB"], rows))


if __name__ == "__main__":
    main()
