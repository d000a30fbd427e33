"""Train in float32, bfloat16 and float16 on a CPU, with autocast and a scaler of the gradients as on a GPU.

    python -m benchmarks.half_precision RESULTS.jsonl --models mamba-yolo-n yolov8n.yaml --epochs 40
    python -m benchmarks.half_precision RESULTS.jsonl --report

ultralytics trains in float32 on a CPU. Here it gets the CPU's autocast and scaler in the place of those for CUDA. The
results say how the number formats learn, and nothing about speed. Runs that are in the file are not repeated.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.decisions.layout import as_markdown
from benchmarks.digits import compose_digits
from trainer.ultralytics_bridge import environment

environment.configure()

import torch  # noqa: E402 - ultralytics reads its settings when it is imported
import ultralytics.engine.trainer as engine  # noqa: E402

from trainer.commands import prepare  # noqa: E402
from trainer.training import trial  # noqa: E402
from tuner.contract import (  # noqa: E402
    EpochRecord,
    Outcome,
    PreparedRecord,
    PrepareRequest,
    Record,
    TrainRequest,
)

PRECISIONS = ("fp32", "bf16", "fp16")
_SHOWN = (0.25, 0.5, 0.75, 1.0)
"""Shares of the epochs at which the table shows a run."""


class CountingScaler(torch.amp.GradScaler):
    """Scaler for the CPU that counts the optimizer steps that it skips."""

    skipped = 0
    """Skipped steps of the last scaler."""

    def __init__(self, device: str = "cpu", *, enabled: bool = True) -> None:
        super().__init__("cpu", enabled=enabled)
        CountingScaler.skipped = 0

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        """Lower the scale after a step that overflowed."""
        before = self.get_scale()
        super().update(new_scale)
        CountingScaler.skipped += self.get_scale() < before


def _autocast(enabled: bool | torch.dtype, device: str) -> torch.amp.autocast:
    dtype = enabled if isinstance(enabled, torch.dtype) else torch.float16
    return torch.amp.autocast(device, dtype=dtype, enabled=bool(enabled))


@contextlib.contextmanager
def half_precision_on_cpu() -> Iterator[None]:
    """Let ultralytics train in half precision on a CPU."""
    stock: Any = engine.check_amp, engine.autocast, torch.amp.GradScaler
    engine.check_amp = lambda model: True
    engine.autocast = _autocast
    torch.amp.GradScaler = CountingScaler  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        engine.check_amp, engine.autocast, torch.amp.GradScaler = stock  # type: ignore[misc]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Run in one precision, as a line of the results."""

    model: str
    precision: str
    epochs: int
    seed: int
    outcome: str
    losses: list[float]
    """Sum of the mean losses of each epoch."""
    mAP50_95: list[float]  # noqa: N815 - the field's term
    skipped: int
    """Optimizer steps that were skipped because a gradient overflowed."""

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.model, self.precision, self.epochs, self.seed


def train(model: str, precision: str, *, epochs: int, imgsz: int, seed: int, images: int, folder: Path) -> Trained:
    """Train one model from random weights on handwritten digits."""
    data = compose_digits(folder / "data", train_images=images, val_images=images // 4)
    heard: list[Record] = []
    place = folder / f"{model}-{precision}-{seed}"
    place.mkdir(parents=True, exist_ok=True)
    end = prepare.run(PrepareRequest(data=str(data), model=model, directory=str(place)), heard.append)
    prepared = next((record for record in heard if isinstance(record, PreparedRecord)), None)
    if prepared is None:
        raise SystemExit(end.message)
    request = TrainRequest(
        study="half-precision",
        trial=0,
        params={
            "imgsz": imgsz,
            "batch": 8,
            "nbs": 8,
            "optimizer": "AdamW",
            "lr0": 0.002,
            "momentum": 0.9,
            "warmup_epochs": 1.0,
            "mosaic": 0.0,
            "close_mosaic": 0,
            "amp": precision,
        },
        model=prepared.model,
        data=prepared.data,
        epochs=epochs,
        stop_epoch=epochs,
        validation_epochs=tuple(range(1, epochs + 1)),
        seed=seed,
        devices=(),
        threads=len(os.sched_getaffinity(0)),
        directory=str(place / "run"),
    )
    CountingScaler.skipped = 0
    with half_precision_on_cpu():
        end = trial.run(request, heard.append)
    records = [record for record in heard if isinstance(record, EpochRecord)]
    return Trained(
        model=model,
        precision=precision,
        epochs=epochs,
        seed=seed,
        outcome=end.outcome.value if end.outcome == Outcome.COMPLETED else f"{end.outcome.value}: {end.message}",
        losses=[sum(record.losses.values()) for record in records],
        mAP50_95=[(record.metrics or {}).get("mAP50-95", 0.0) for record in records],
        skipped=CountingScaler.skipped,
    )


def report(runs: list[Trained]) -> str:
    """Return a table of losses and metrics by epoch."""
    lines = []
    for run in runs:
        at = [max(int(share * run.epochs), 1) for share in _SHOWN]
        reached = [f"{run.losses[n - 1]:.2f}, {run.mAP50_95[n - 1]:.3f}" if n <= len(run.losses) else "-" for n in at]
        lines.append([run.model, run.precision, str(run.seed), *reached, str(run.skipped), run.outcome])
    columns = ["model", "precision", "seed", *(f"{share:.0%} of the epochs" for share in _SHOWN), "skipped", "end"]
    return as_markdown(columns, lines)


def main() -> None:
    """Train what is missing from the results, and report all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS.jsonl")
    parser.add_argument("--models", nargs="+", default=["mamba-yolo-n", "yolov8n.yaml"])
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, choices=PRECISIONS)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--imgsz", type=int, default=64)
    parser.add_argument("--images", type=int, default=256, help="training images (default 256)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="only print the table")
    options = parser.parse_args()
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    runs = [Trained(**json.loads(line)) for line in lines]
    done = {run.key for run in runs}
    for model in () if options.report else options.models:
        for precision in options.precisions:
            if (model, precision, options.epochs, options.seed) in done:
                continue
            with tempfile.TemporaryDirectory(prefix="half-precision-") as folder:
                sizes = {"imgsz": options.imgsz, "images": options.images, "epochs": options.epochs}
                run = train(model, precision, seed=options.seed, folder=Path(folder), **sizes)
            runs.append(run)
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
    sys.stdout.write(f"{report(runs)}\n")


if __name__ == "__main__":
    main()
