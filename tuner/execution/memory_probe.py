"""How much memory a batch takes: a few real steps with it, on a few images."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.contract import EndRecord, EpochRecord, Outcome, Record, StartedRecord, TrainRequest
from tuner.exceptions import DataError, MachineError

_BATCHES = 2

Train = Callable[[TrainRequest, Callable[[Record], None]], EndRecord]
"""Carries a request out, passing on every record but the end, which it returns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """What a few steps took."""

    memory_gib: float | None
    """None where memory ran out."""
    device: str
    """As the trainer names it."""


def peak_of(train: Train, request: TrainRequest, *, folder: Path | None = None, **sizes: int) -> Peak:
    """The memory of a few real steps.

    Args:
        train: what carries a request out.
        request: what is to be trained; on its first device alone is measured.
        folder: where scratch files are put, which all machines see; none for this machine's own place for such.
        sizes: arguments to take in place of the request's, `batch` among them.

    Raises:
        DataError: a file of the data set cannot be trained on.
        MachineError: it ended otherwise than by running through or out of memory.
    """
    with tempfile.TemporaryDirectory(prefix="tune-memory-", dir=folder) as scratch:
        steps = replace(
            request,
            params={**request.params, **sizes, "patience": 0, "save_period": -1},
            max_images=_BATCHES * sizes["batch"],
            epochs=1,
            stop_epoch=1,
            validation_epochs=(1,),
            devices=request.devices[:1],
            directory=str(Path(scratch) / "run"),
            full=False,
            stages=(),
            backup="",
        )
        heard: list[Record] = []
        end = train(steps, heard.append)
    started = next((record for record in heard if isinstance(record, StartedRecord)), None)
    epoch = next((record for record in heard if isinstance(record, EpochRecord)), None)
    device = "" if started is None else started.device
    if end.outcome == Outcome.COMPLETED and epoch is not None:
        return Peak(memory_gib=epoch.memory_gib, device=device)
    if end.outcome == Outcome.OUT_OF_MEMORY:  # a kill for memory included: trainers tell it from other deaths
        return Peak(memory_gib=None, device=device)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    raise MachineError(f"Memory could not be measured: {end.message or end.outcome.value}.")
