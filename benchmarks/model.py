"""Time of a training step and of inference: Mamba-YOLO with our scan and with others', and stock YOLOv8.

Usage: python benchmarks/model.py [--model mamba-yolo-t] [--imgsz 320] [--batch 4] [--profile] [--json model.json]
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial

import torch

from benchmarks import report
from benchmarks.breakdown import Cost, breakdown
from benchmarks.contestants import PUBLISHED_LOOP, default
from benchmarks.crossed import CrossScan, cross_scans
from benchmarks.detectors import Detector, check_agreement, with_scan
from benchmarks.measuring import Work, durations_s, median_ms, num_threads
from trainer.models import MODEL_NAMES

INFERENCE = "inference"
TRAINING = "training step"
STOCK = ("yolov8n", "yolov8s")

_NUM_OPERATORS_SHOWN = 15
_COST_HEADERS = ("operator", "part", "ms", "share")

# The loop's backward grows with the square of the pixels: one image of this size already takes minutes.
_LOOP_TRAINING_MAX_IMGSZ = 160


@dataclass(frozen=True)
class Case:
    model: str
    imgsz: int
    batch: int

    def __str__(self) -> str:
        return f"{self.model}, imgsz {self.imgsz}, batch {self.batch}"


@dataclass(frozen=True)
class Timing:
    case: str
    contestant: str
    measure: str
    threads: int
    median_ms: float
    seconds: list[float]


def main() -> None:
    options = _options()
    device: torch.device = options.device
    cases = [Case(model, size, options.batch or _batch(size)) for model in options.model for size in options.imgsz]
    threads = options.threads or [torch.get_num_threads()]
    facts = report.environment(device)
    values: dict[str, object] = {"environment": facts, "cases": {str(case): asdict(case) for case in cases}}
    report.say_environment(facts)
    if options.profile:
        values |= _profiled(cases, device, threads, options.repeats)
    else:
        values |= _compared(cases, device, threads, options.repeats, options.patience)
    report.write_json(options.json, values)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--model", nargs="+", choices=MODEL_NAMES, default=["mamba-yolo-t", "mamba-yolo-n"])
    parser.add_argument("--imgsz", type=int, nargs="+", default=[160, 320, 640], help="edge of the images, in pixels")
    parser.add_argument("--batch", type=int, help="images in a batch (default 4; 1 from imgsz 640 on)")
    parser.add_argument(
        "--patience", type=float, default=20.0, metavar="SECONDS", help="what takes longer is timed once (default 20)"
    )
    parser.add_argument("--profile", action="store_true", help="show where our training step's time goes instead")
    report.add_options(parser, repeats=5)
    return parser.parse_args()


def _batch(imgsz: int) -> int:
    return 1 if imgsz >= 640 else 4


def _compared(
    cases: list[Case], device: torch.device, threads: list[int], repeats: int, patience_s: float
) -> dict[str, object]:
    scans, skipped = cross_scans(device)
    report.say_skipped(skipped)
    timings: list[Timing] = []
    for case in cases:
        for number in threads:
            with num_threads(number):
                for measure, works in _works(case, scans, device):
                    for name, seconds in durations_s(works, device, repeats, patience_s).items():
                        timings.append(Timing(str(case), name, measure, number, median_ms(seconds), seconds))
        report.say(str(case))
        report.say(_table(case, timings))
    return {"ours": default(device), "skipped": skipped, "timings": [asdict(x) for x in timings]}


def _works(case: Case, scans: Mapping[str, CrossScan], device: torch.device) -> Iterator[tuple[str, dict[str, Work]]]:
    """Yield the measures of a case with the contestants' work for each."""
    own = Detector(case.model, case.imgsz, case.batch, device)
    check_agreement(own, scans)
    stock = {name: Detector(f"{name}.yaml", case.imgsz, case.batch, device) for name in STOCK}
    trainable = {name: scan for name, scan in scans.items() if _is_trainable(name, case)}
    yield INFERENCE, _with_each(scans, case, own.infer) | {name: x.infer for name, x in stock.items()}
    yield TRAINING, _with_each(trainable, case, own.train) | {name: x.train for name, x in stock.items()}


def _with_each(scans: Mapping[str, CrossScan], case: Case, work: Work) -> dict[str, Work]:
    return {f"{case.model}, {name}": partial(with_scan, scan, work) for name, scan in scans.items()}


def _is_trainable(scan: str, case: Case) -> bool:
    return scan != PUBLISHED_LOOP or case.batch * case.imgsz**4 <= _LOOP_TRAINING_MAX_IMGSZ**4


def _table(case: Case, timings: list[Timing]) -> str:
    """Format a row for each contestant and number of threads."""
    ms = {(x.contestant, x.threads, x.measure): x.median_ms for x in timings if x.case == str(case)}
    runs = list(dict.fromkeys((name, number) for name, number, _ in ms))
    own = runs[0][0]
    headers = ["model, scan", "threads"]
    for measure in (INFERENCE, TRAINING):
        headers += [f"{measure}, ms", "speed of ours"]
    rows = []
    for name, number in sorted(runs, key=lambda run: run[1]):
        row = [name, str(number)]
        for measure in (INFERENCE, TRAINING):
            duration = ms.get((name, number, measure))
            row += ["-" if duration is None else f"{duration:.0f}", report.times(duration, ms[own, number, measure])]
        rows.append(row)
    return report.table(headers, rows)


def _profiled(cases: list[Case], device: torch.device, threads: list[int], repeats: int) -> dict[str, object]:
    found = []
    for case in cases:
        detector = Detector(case.model, case.imgsz, case.batch, device)
        for number in threads:
            with num_threads(number):
                parts, operators = breakdown(detector.train_with_loss_apart, device, repeats)
            report.say(f"{case}, threads {number}: a training step with the scan '{default(device)}'")
            report.say(report.table(_COST_HEADERS, [_cost_row(x) for x in parts]))
            report.say(report.table(_COST_HEADERS, [_cost_row(x) for x in operators[:_NUM_OPERATORS_SHOWN]]))
            found += [{"case": str(case), "threads": number, **asdict(x)} for x in (*parts, *operators)]
    return {"ours": default(device), "costs": found}


def _cost_row(cost: Cost) -> list[str]:
    return [cost.operator, cost.part, f"{cost.ms:.1f}", f"{cost.share:.1%}"]


if __name__ == "__main__":
    main()
