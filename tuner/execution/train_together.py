"""Train several short runs at once on one GPU, to see how they slow each other down."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import ray

from tuner.contract import EndRecord, EpochRecord, Outcome, Record, TrainRequest, decode, encode
from tuner.exceptions import DataError, MachineError
from tuner.execution.trainer_process import TrainerProcess
from tuner.execution.watchdog import HangTimeouts
from tuner.trials.retry_policy import Failure, failure_of

_POLL_S = 0.05

_BATCHES = 32
"""Batches of an epoch of a measurement: enough that the end of an epoch, with its checkpoint, takes a small part."""

_TIMED_EPOCHS = 2
"""Epochs of each run that are timed, while all of them train."""

_MOST_EPOCHS = 1000
"""Length of the runs of a measurement, which are stopped long before."""


class _TrainerHosts:
    """Trainers on one machine and one GPU."""

    def __init__(self, command: Sequence[str], number: int) -> None:
        self._trainers = [TrainerProcess(command) for _ in range(number)]

    def send(self, lines: Sequence[str], hang_timeouts: HangTimeouts) -> None:
        for trainer, line in zip(self._trainers, lines, strict=True):
            trainer.send(decode(line), hang_timeouts)  # type: ignore[arg-type]  # requests only

    def receive(self) -> list[tuple[int, float, str]]:
        """Return number, time of arrival in seconds, and record, of all that has arrived."""
        found = []
        for number, trainer in enumerate(self._trainers):
            for record in trainer.receive(timeout_s=_POLL_S):
                found.append((number, time.monotonic(), encode(record)))
        return found

    def close(self) -> None:
        for trainer in self._trainers:
            trainer.stop_request()
            trainer.close()


_RemoteTrainers: Any = ray.remote(_TrainerHosts)


@dataclass(kw_only=True, slots=True)
class _Times:
    """Times of epochs that runs have trained at once."""

    runs: int
    epochs: list[list[tuple[float, float]]] = field(init=False)
    """For each run, begin and end of its epochs in seconds."""

    def __post_init__(self) -> None:
        self.epochs = [[] for _ in range(self.runs)]

    def note(self, run: int, ended_s: float, record: EpochRecord) -> None:
        self.epochs[run].append((ended_s - record.seconds, ended_s))

    def together(self) -> list[list[float]] | None:
        """Return the times of epochs during which all runs trained; None before there are enough.

        The first epoch of a run is left out, because it includes caching and compilation, and until the last run has
        finished it, the others train without it.
        """
        if not all(self.epochs):
            return None
        from_s = max(epochs[0][1] for epochs in self.epochs)
        times = [[end - begin for begin, end in epochs[1:] if begin >= from_s - _POLL_S] for epochs in self.epochs]
        return times if all(len(each) >= _TIMED_EPOCHS for each in times) else None


def images_per_s_together(
    request: TrainRequest,
    number: int,
    command: Sequence[str],
    *,
    batch: int,
    num_images: int,
    hang_timeouts: HangTimeouts,
    cpus: float,
    folder: Path,
    should_stop: Callable[[], bool],
) -> float | None:
    """Train a request several times at once on one GPU, and return the images per second of all together.

    Args:
        request: Request to train, on one device.
        number: Number of runs at once; each gets an equal share of the GPU.
        command: Command that starts a trainer.
        batch: Batch size of the request.
        num_images: Training images of the data set.
        hang_timeouts: Limits for the silence of a trainer.
        cpus: Number of Ray's CPUs that all runs reserve.
        folder: Folder for scratch files that all machines can see.
        should_stop: Tells whether to stop early.

    Returns:
        Images per second; None if several runs do not fit on the GPU together, or the measurement was stopped.

    Raises:
        DataError: A file of the data set cannot be trained on.
        MachineError: The trainer does not work.
    """
    images = min(_BATCHES * batch, num_images)
    requests = [
        replace(
            request,
            # As in `memory_probe`, with a mosaic in all epochs.
            params={**request.params, "patience": 0, "save_period": -1, "close_mosaic": 0},
            max_images=_BATCHES * batch,
            epochs=_MOST_EPOCHS,
            stop_epoch=_MOST_EPOCHS,
            validation_epochs=(_MOST_EPOCHS,),
            devices=request.devices[:1],
            gpu_share=1 / number,
            directory=str(folder / str(run)),
        )
        for run in range(number)
    ]
    times = _Times(runs=number)
    heard = _records(requests, command, hang_timeouts, cpus=cpus, should_stop=should_stop)
    with contextlib.closing(heard):
        for run, arrived_s, record in heard:
            if isinstance(record, EndRecord):
                _refuse(record, number)
                return None
            if isinstance(record, EpochRecord):
                times.note(run, arrived_s, record)
            if (found := times.together()) is not None:
                return sum(images / fmean(each) for each in found)
    return None


def first_epochs_together(
    requests: Sequence[TrainRequest],
    command: Sequence[str],
    *,
    hang_timeouts: HangTimeouts,
    cpus: float,
    should_stop: Callable[[], bool],
) -> tuple[list[EpochRecord], EndRecord | None]:
    """Train the first epoch of several requests at once on one GPU.

    Returns:
        Records of the epochs that have ended, and the first end of a run that did not complete, None if all did.
    """
    epochs: list[EpochRecord] = []
    left = len(requests)
    heard = _records(requests, command, hang_timeouts, cpus=cpus, should_stop=should_stop)
    with contextlib.closing(heard):
        for _, _, record in heard:
            if isinstance(record, EpochRecord):
                epochs.append(record)
            if isinstance(record, EndRecord):
                left -= 1
                if record.outcome != Outcome.COMPLETED:
                    return epochs, record
            if not left:
                break
    return epochs, None


def _refuse(end: EndRecord, number: int) -> None:
    """Raise the error of a run that ended, unless several runs at once are to blame."""
    failure = failure_of(end)
    if failure == Failure.BAD_DATA:
        raise DataError(end.message)
    if number == 1 or failure not in (Failure.OUT_OF_MEMORY, Failure.INFRASTRUCTURE):
        raise MachineError(f"Measuring trials that share a GPU failed: {end.message or end.outcome.value}.")


def _records(
    requests: Sequence[TrainRequest],
    command: Sequence[str],
    hang_timeouts: HangTimeouts,
    *,
    cpus: float,
    should_stop: Callable[[], bool],
) -> Generator[tuple[int, float, Record]]:
    """Yield number of the run, time of arrival and record, until the caller has enough or a machine is lost."""
    try:
        with _placed(command, len(requests), cpus=cpus) as trainers:
            ray.get(trainers.send.remote([encode(request) for request in requests], hang_timeouts))
            while not should_stop():
                for number, arrived_s, line in ray.get(trainers.receive.remote()):
                    yield number, arrived_s, decode(line)  # type: ignore[misc]  # trainers send records only
    except ray.exceptions.RayActorError as error:
        raise MachineError("Measuring trials that share a GPU failed: its process or machine was lost.") from error


@contextlib.contextmanager
def _placed(command: Sequence[str], number: int, *, cpus: float) -> Iterator[Any]:
    # One actor for all: Ray could put actors with a part of a GPU each on different GPUs.
    trainers = _RemoteTrainers.options(num_cpus=cpus, num_gpus=1).remote(list(command), number)
    try:
        yield trainers
    finally:
        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(trainers.close.remote())
        ray.kill(trainers)
