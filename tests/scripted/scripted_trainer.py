"""A trainer that speaks the contract and trains nothing: it plays a script.

`python scripted_trainer.py [--epoch-seconds S] [--journal FILE] [--fail MESSAGE]`

The metric of an epoch is a function of the parameters, so searches over it have right answers; lr0 above 1 diverges
in the first epoch. Epochs already played are kept in the request's directory, as a real trainer keeps its
checkpoint. Each start and end is appended to the journal with the trial, the slot and the time.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from pathlib import Path

from tuner.contract import (
    EndRecord,
    EpochRecord,
    Outcome,
    PreparedRecord,
    PrepareRequest,
    StartedRecord,
    TrainRequest,
    decode,
    encode,
)


class Stop(Exception):  # noqa: N818
    pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epoch-seconds", type=float, default=0.05)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--fail", default="")
    options = parser.parse_args()
    for line in iter(sys.stdin.readline, ""):
        request = decode(line)
        send(prepare(request) if isinstance(request, PrepareRequest) else train(request, options))


def send(record) -> None:
    sys.stdout.write(encode(record) + "\n")
    sys.stdout.flush()


def prepare(request: PrepareRequest) -> EndRecord:
    send(
        PreparedRecord(
            data=request.data,
            data_sha256="0" * 64,
            num_classes=6,
            num_images={"train": 80, "val": 20},
            model=request.model,
            portable_model=request.model,
            num_parameters=1000,
            checkpoint_bytes=1000,
            versions={"scripted": "1"},
        )
    )
    return EndRecord(outcome=Outcome.COMPLETED)


def metric(params, epoch: int, epochs: int) -> float:
    """Rises with the epochs towards a height that depends on lr0: best at 0.01."""
    height = 0.6 - 0.1 * abs(math.log10(float(params.get("lr0", 0.01))) + 2)
    return max(0.0, height) * (1 - math.exp(-3 * epoch / epochs))


def train(request: TrainRequest, options) -> EndRecord:
    def on_term(signum, frame):
        raise Stop

    signal.signal(signal.SIGTERM, on_term)
    directory = Path(request.directory)
    directory.mkdir(parents=True, exist_ok=True)
    note(options, "start", request)
    send(StartedRecord(pid=os.getpid(), device="scripted"))
    try:
        return play(request, options, directory)
    except Stop:
        return EndRecord(outcome=Outcome.STOPPED)
    finally:
        note(options, "end", request)


def play(request: TrainRequest, options, directory: Path) -> EndRecord:
    if options.fail:
        return EndRecord(outcome=Outcome.ERROR, message=options.fail)
    state = directory / "played.json"
    played = json.loads(state.read_text()) if state.exists() else 0
    for epoch in range(1, request.stop_epoch + 1):
        if epoch > played:
            time.sleep(options.epoch_seconds)
            if float(request.params.get("lr0", 0.01)) > 1:
                return EndRecord(outcome=Outcome.DIVERGED, message="the loss became NaN in epoch 1, batch 1")
            temporary = state.with_suffix(".tmp")
            temporary.write_text(json.dumps(epoch))
            temporary.replace(state)
            note(options, "epoch", request, epoch=epoch)
        validated = epoch in request.validation_epochs or epoch == request.stop_epoch
        value = metric(request.params, epoch, request.epochs)
        send(
            EpochRecord(
                epoch=epoch,
                losses={"box": 1.0 / epoch, "cls": 1.0, "dfl": 1.0},
                metrics={"mAP50-95": value, "mAP50": value, "precision": value, "recall": value} if validated else None,
                seconds=options.epoch_seconds,
                memory_gib=0.1,
                learning_rate=0.01,
                batch=int(request.params.get("batch", 16)),
                checkpoint=str(state),
            )
        )
    metrics = {"mAP50-95": value, "mAP50": value, "precision": value, "recall": value}
    return EndRecord(
        outcome=Outcome.COMPLETED,
        checkpoint=str(state) if request.full else "",
        metrics=metrics if request.full else None,
    )


def note(options, event: str, request: TrainRequest, **more) -> None:
    if options.journal:
        entry = {
            "event": event,
            "trial": request.trial,
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "pid": os.getpid(),
            "time": time.monotonic(),
            **more,
        }
        with options.journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")


if __name__ == "__main__":
    main()
