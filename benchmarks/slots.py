"""Load of one driver with many slots: how well the slots are used, and what the driver and Ray take.

    python -m benchmarks.slots [--slots 16 64 256] [--epoch-s 5 60] [--measured-s 180]

A search trains on real Ray on this machine, whatever its cores; a slot takes about 75 MiB. Trials play a script instead
of training. The measurement begins when each slot has trained an epoch, and ends long before the last trial.

A slot is used until the epoch after which its trial stops, and again when its next trial starts. Training does not wait
for the driver, so a driver that is late shows only there.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import say, table
from tuner.study import Span, read_timeline

_TRAINER = Path(__file__).parents[1] / "tests" / "support" / "scripted_trainer.py"

_SPACE = """
search: {trials: 1000000, epochs: 50, promote_epochs: 1, reevaluation_runs: 0}
parameters:
  optimizer: SGD
  batch: 16
  imgsz: 64
  lr0: {float: [0.0001, 0.1], log: true}
  momentum: {float: [0.8, 0.95]}
  weight_decay: {float: [0.0001, 0.01], log: true}
  mosaic: {float: [0, 1]}
baseline: {lr0: 0.01, momentum: 0.937, weight_decay: 0.0005, mosaic: 1.0}
data: sample
model: mamba-yolo-n
"""

_POLL_S = 1.0
_AFTER_S = 15.0
"""Time for which the search continues after the measurement, so that trials that have stopped then have a successor."""

_Event = Mapping[str, Any]
"""Line of the trainers' journal."""


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time of the processes of a search at a moment, by their role."""

    at_s: float
    """Monotonic time of the moment."""
    cpu_s: Mapping[str, float]
    memory_gib: float
    """Memory that the processes do not share with others."""


@dataclass(frozen=True, slots=True)
class Load:
    """Load of a search with many slots."""

    used: float
    """Share of the slots' time in which trials trained, 0..1."""
    epochs_per_s: float
    switches_s: Sequence[float]
    """Times from the epoch after which a trial stopped to the start of the next one on the slot."""
    cores: Mapping[str, float]
    """Number of cores that were busy, by role: "driver", "ray" or "trainer"."""
    memory_gib: float


def measured(slots: int, epoch_s: float, measured_s: float, folder: Path) -> Load:
    """Search with this many slots for a while."""
    journal = folder / "journal"
    (folder / "space.yaml").write_text(_SPACE, encoding="utf-8")
    trainer = f"{sys.executable} {_TRAINER} --epoch-seconds {epoch_s} --journal {journal} --together {slots}"
    options = ["--space=space.yaml", "--study=s", "--plain", "--no-promote", f"--parallel={slots}", "--gpus=0"]
    command = [sys.executable, "-m", "tuner", "run", *options, f"--trainer={trainer}"]
    with (folder / "output").open("wb") as output:
        driver = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        while driver.poll() is None and len({event["pid"] for event in _events(journal, "epoch")}) < slots:
            time.sleep(_POLL_S)
        before = _usage(driver.pid)
        time.sleep(measured_s)
        after = _usage(driver.pid)
        time.sleep(_AFTER_S)
    except psutil.NoSuchProcess:
        sys.exit((folder / "output").read_text(encoding="utf-8", errors="replace")[-2000:])
    finally:
        driver.send_signal(signal.SIGTERM)
        driver.wait()
    events = list(_events(journal, "start", "epoch"))
    spans = read_timeline(folder / "studies" / "s" / "timeline.jsonl")
    return _load(slots, events, spans, before, after)


def _events(journal: Path, *kinds: str) -> Iterator[_Event]:
    """Yield the events of these kinds; trials of the search only."""
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []:
        if line.endswith("}") and (event := json.loads(line))["event"] in kinds:
            yield event


def _load(slots: int, events: Sequence[_Event], spans: Sequence[Span], before: Usage, after: Usage) -> Load:
    wall_s = after.at_s - before.at_s
    epochs = sum(event["event"] == "epoch" and before.at_s <= event["time"] <= after.at_s for event in events)
    switches = list(_switches(events, spans))
    lost_s = sum(max(0.0, min(start_s, after.at_s) - max(stop_s, before.at_s)) for stop_s, start_s in switches)
    return Load(
        used=1 - lost_s / (slots * wall_s),
        epochs_per_s=epochs / wall_s,
        switches_s=[start_s - stop_s for stop_s, start_s in switches if before.at_s <= stop_s <= after.at_s],
        cores={role: (cpu_s - before.cpu_s.get(role, 0.0)) / wall_s for role, cpu_s in after.cpu_s.items()},
        memory_gib=after.memory_gib,
    )


def _switches(events: Sequence[_Event], spans: Sequence[Span]) -> Iterator[tuple[float, float]]:
    """Yield, for each trial with a successor on its slot, when it should have stopped and when the next one started."""
    last_epochs = {(span.trial, span.to_epoch) for span in spans}
    of_slot = defaultdict(list)
    for event in events:
        of_slot[event["pid"]].append(event)
    for on_slot in of_slot.values():
        stop_s = None
        for event in on_slot:
            if event["event"] == "start":
                if stop_s is not None:
                    yield stop_s, event["time"]
                stop_s = None
            elif stop_s is None and (event["trial"], event["epoch"]) in last_epochs:
                stop_s = event["time"]


def _usage(driver: int) -> Usage:
    cpu_s: dict[str, float] = defaultdict(float)
    memory_bytes = 0
    at_s = time.monotonic()
    for process in [psutil.Process(driver), *psutil.Process(driver).children(recursive=True)]:
        try:
            role = _role(process, driver)
            cpu_s[role] += sum(process.cpu_times()[:2])
            memory_bytes += process.memory_full_info().uss
        except psutil.Error:
            continue
    return Usage(at_s, cpu_s, memory_bytes / 2**30)


def _role(process: psutil.Process, driver: int) -> str:
    if process.pid == driver:
        return "driver"
    return "trainer" if str(_TRAINER) in process.cmdline() else "ray"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--epoch-s", type=float, nargs="+", default=[5.0, 60.0])
    parser.add_argument("--measured-s", type=float, default=180.0)
    options = parser.parse_args()
    rows = []
    for epoch_s in options.epoch_s:
        for slots in options.slots:
            with tempfile.TemporaryDirectory() as folder:
                load = measured(slots, epoch_s, options.measured_s, Path(folder))
            rows.append([f"{slots} slots, epochs of {epoch_s:g} s", *_cells(load)])
            say(" ".join(rows[-1]))
    headers = ["slots used", "epochs/s", "next trial after", "driver", "per epoch", "Ray", "trainers", "memory"]
    say(table(["", *headers], rows))


def _cells(load: Load) -> Iterator[str]:
    """Yield the cells of a row; the time to the next trial as median and 95th percentile."""
    yield f"{load.used:.1%}"
    yield f"{load.epochs_per_s:.1f}"
    ordered = sorted(load.switches_s)
    yield f"{statistics.median(ordered):.2f}, {ordered[int(0.95 * len(ordered))]:.2f} s" if ordered else "-"
    yield f"{load.cores['driver']:.2f} cores"
    yield f"{1000 * load.cores['driver'] / load.epochs_per_s:.1f} ms"
    yield f"{load.cores['ray']:.2f} cores"
    yield f"{load.cores.get('trainer', 0.0):.2f} cores"
    yield f"{load.memory_gib:.1f} GiB"


if __name__ == "__main__":
    main()
