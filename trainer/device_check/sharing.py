"""Train in one, two and four processes on one device at the same time, to see what it still has to give."""

import multiprocessing
import queue
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import torch

from trainer.device_check.cases import half_on
from trainer.device_check.timing import wait_for
from trainer.exceptions import TrainerError
from trainer.ultralytics_bridge import environment
from tuner.contract import DeviceCheckRecord, ParamValue, Table

_MODELS = ("mamba-yolo-n", "mamba-yolo-t")
_SMALL_MODELS = ("mamba-yolo-n",)
_PROCESSES = (1, 2, 4)
_SMALL_PROCESSES = (1, 2)
_IMGSZ, _BATCH, _TIME_S = 640, 16, 8.0
_SMALL_IMGSZ, _SMALL_BATCH, _SMALL_TIME_S = 64, 2, 1.0
_START_S = 240.0
"""Longest time for a process to import torch, build its model and compile, in seconds."""


def run(device: torch.device, *, small: bool) -> DeviceCheckRecord:
    """Measure the images a second of all processes together."""
    imgsz, batch, time_s = (_SMALL_IMGSZ, _SMALL_BATCH, _SMALL_TIME_S) if small else (_IMGSZ, _BATCH, _TIME_S)
    rows: list[dict[str, ParamValue]] = []
    notes = []
    for model in _SMALL_MODELS if small else _MODELS:
        alone: float | None = None
        for number in _SMALL_PROCESSES if small else _PROCESSES:
            try:
                rate = _images_per_s(number, model, imgsz, batch, str(device), time_s)
            except TrainerError as error:
                notes.append(f"{model} in {number} processes: {error}")
                break
            alone = alone or rate
            rows.append({"model": model, "processes": number, "images_per_s": rate, "gain": rate / alone})
    title = f"Training steps of processes that share the device, batch {batch} at {imgsz} pixels"
    return DeviceCheckRecord(tables=(Table(title=title, rows=tuple(rows)),), notes=tuple(notes))


def _images_per_s(number: int, model: str, imgsz: int, batch: int, device: str, time_s: float) -> float:
    """Train in `number` processes that start together, and add up their rates.

    Raises:
        TrainerError: A process failed.
    """
    context = multiprocessing.get_context("spawn")  # a fork has no CUDA
    answers: Queue[float | str] = context.Queue()
    together = context.Barrier(number)
    processes = [
        context.Process(target=_train, args=(model, imgsz, batch, device, time_s, together, answers), daemon=True)
        for _ in range(number)
    ]
    for process in processes:
        process.start()
    try:
        rates = [answers.get(timeout=_START_S) for _ in processes]
    except queue.Empty:
        raise TrainerError("one of them gave no answer") from None
    finally:
        for process in processes:
            process.terminate()
            process.join()
    failed = [rate for rate in rates if isinstance(rate, str)]
    if failed:
        raise TrainerError(failed[0])
    return sum(rate for rate in rates if not isinstance(rate, str))


def _train(
    model: str, imgsz: int, batch: int, device: str, time_s: float, together: Barrier, answers: "Queue[float | str]"
) -> None:
    """Train for a while once all processes are ready, and answer with images a second, or with an error."""
    try:
        environment.configure()
        from trainer.ultralytics_bridge.synthetic import SyntheticDetector

        torch.set_num_threads(1)
        where = torch.device(device)
        detector = SyntheticDetector(model, imgsz, batch, where, half=half_on(where))
        for _ in range(2):
            detector.train()
        wait_for(where)
        together.wait(_START_S)
        began_s, steps = time.perf_counter(), 0
        while time.perf_counter() - began_s < time_s:
            detector.train()
            wait_for(where)
            steps += 1
        answers.put(batch * steps / (time.perf_counter() - began_s))
    except Exception as error:  # whatever a device raises when it is shared
        together.abort()
        answers.put(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
