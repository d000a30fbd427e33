"""Measure the memory of a batch by a few real steps on a few images."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.contract import EndRecord, EpochRecord, Outcome, Record, StartedRecord, TrainRequest
from tuner.exceptions import DataError, MachineError

_BATCHES = 2

Train = Callable[[TrainRequest, Callable[[Record], None]], EndRecord]
"""Function that carries out a request, passes on every record but the end, and returns the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """Peak memory of a few steps."""

    memory_gib: float | None
    """Peak memory in GiB; None if memory ran out."""
    device: str
    """Name of the device, as the trainer reports it."""

    def fits_into(self, room_gib: float) -> bool:
        """Check whether the steps fit into this memory in GiB, too, which may be that of a smaller device."""
        return self.memory_gib is not None and self.memory_gib <= room_gib


def peak_of(train: Train, request: TrainRequest, *, folder: Path | None = None, **sizes: int) -> Peak:
    """Measure the memory of a few real steps.

    Args:
        train: Function that carries out the request.
        request: Request to measure, on its first device only.
        folder: Folder for scratch files that all machines can see; None for the temporary folder of this machine.
        sizes: Arguments that replace those of the request, `batch` among them.

    Raises:
        DataError: a file of the data set cannot be trained on.
        MachineError: the steps neither completed nor ran out of memory.
    """
    with tempfile.TemporaryDirectory(prefix="tune-memory-", dir=folder) as scratch:
        steps = replace(
            request,
            # A run of one epoch would close the mosaic, which brings in the boxes of four images.
            params={**request.params, **sizes, "patience": 0, "save_period": -1, "close_mosaic": 0},
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
    if end.outcome == Outcome.OUT_OF_MEMORY:  # includes a kill for memory, which trainers recognise
        return Peak(memory_gib=None, device=device)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    raise MachineError(f"Measuring memory failed: {end.message or end.outcome.value}.")
