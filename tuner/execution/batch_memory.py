"""How much memory a batch takes: a few real steps with it, on a few pictures."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.contract import EndRecord, EpochRecord, Outcome, TrainRequest
from tuner.exceptions import EnvironmentProblem
from tuner.execution.trainer_process import TrainerProcess
from tuner.watchdog import Patience

_BATCHES = 2


def measured_by(command: Sequence[str], request: TrainRequest, patience: Patience) -> Callable[[int], float | None]:
    """What measures the peak memory in GiB of a batch; it gives none where memory ran out.

    Args:
        command: that starts a trainer.
        request: what is to be trained; on its first device alone is measured.
        patience: with the trainer.
    """

    def measure(batch: int) -> float | None:
        with tempfile.TemporaryDirectory(prefix="tune-batch-") as scratch:
            few = _few_pictures(Path(request.data), _BATCHES * batch, Path(scratch))
            trial = replace(
                request,
                params={**request.params, "batch": batch, "patience": 0, "save_period": -1},
                data=str(few),
                epochs=1,
                stop_epoch=1,
                validation_epochs=(1,),
                devices=request.devices[:1],
                directory=str(Path(scratch) / "run"),
                full=False,
                stages=(),
                backup="",
            )
            return _peak(command, trial, patience)

    return measure


def _peak(command: Sequence[str], request: TrainRequest, patience: Patience) -> float | None:
    trainer = TrainerProcess(command)
    peak: float | None = None
    try:
        trainer.send(request, patience)
        while True:
            for record in trainer.receive(timeout_s=1.0):
                if isinstance(record, EpochRecord):
                    peak = record.memory_gib
                if isinstance(record, EndRecord):
                    return _told(peak, record)
    finally:
        trainer.stop_request()
        trainer.close()


def _told(peak: float | None, end: EndRecord) -> float | None:
    # A process that the system killed most likely asked for more than there is.
    if end.outcome == Outcome.OUT_OF_MEMORY or (end.outcome == Outcome.ERROR and end.retryable):
        return None
    if end.outcome != Outcome.COMPLETED or peak is None:
        raise EnvironmentProblem(f"No batch could be measured: {end.message or end.outcome.value}.")
    return peak


def _few_pictures(data: Path, number: int, folder: Path) -> Path:
    """The data set as our trainer prepares it, with lists of so many pictures; another trainer's as it is."""
    if not data.is_file():
        return data
    text = data.read_text(encoding="utf-8")
    for split in ("train", "val"):
        listed = data.with_name(f"{data.stem}.{split}.txt")
        if listed.is_file():
            kept = listed.read_text(encoding="utf-8").splitlines(keepends=True)[:number]
            (folder / listed.name).write_text("".join(kept), encoding="utf-8")
            text = text.replace(str(listed), str(folder / listed.name))
    (folder / data.name).write_text(text, encoding="utf-8")
    return folder / data.name
