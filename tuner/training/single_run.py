"""Carry out `tune train`: one training run of one configuration, which the same command resumes."""

import json
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tuner.contract import EndRecord, EpochRecord, Outcome, ParamValue, PreparedRecord, Record, Stage, TrainRequest
from tuner.contract.run_folder import LOG, WEIGHTS
from tuner.exceptions import DataError, MachineError, SpaceError, UsageError
from tuner.execution.local_trainer import train_here
from tuner.execution.memory_probe import peak_of
from tuner.execution.prepare import prepared_by
from tuner.execution.watchdog import HangTimeouts
from tuner.memory.batch_size import MOST, fitting_batch
from tuner.memory.image_cache import cache_bound
from tuner.memory.limits import sizes_of
from tuner.space import DETERMINISTIC
from tuner.storage.lease import folder_lock
from tuner.system.atomic_files import write_whole
from tuner.system.printable import printable
from tuner.system.scratch import scratch_folder
from tuner.system.signals import Signals, trapped_signals
from tuner.trials.requests import Inputs, every_epoch, train_request
from tuner.trials.retry_policy import what_helps

_SETTINGS = "tune-train.json"
_GRADIENT_BYTES = 4
_NCCL_GIB = 0.5
"""Buffers and kernels of NCCL on each GPU: an assumption, not measured."""

_CONTENT = {"data": "data_sha256", "model": "model_sha256"}
"""Settings that hold a path or name, with those that hold the content hash. Only the hashes are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FullRun:
    """Settings of a training run."""

    params: Mapping[str, ParamValue]
    model: str
    data: str
    epochs: int
    seed: int
    stages: tuple[Stage, ...]
    save_period: int
    """Interval in epochs between checkpoints that are kept under their own names."""
    backup: str
    """Path or URL of a folder for copies of the weights; "" for no copies."""
    directory: Path
    """Absolute path of the run's folder."""
    measured_batch: bool
    """True to use the largest batch that fits, instead of the one in `params`."""
    memory_gib: float
    """Memory of each device, in GiB; that of the smallest if they differ."""
    gpus: int
    threads: int
    trainer: tuple[str, ...]
    hang_timeouts: HangTimeouts
    image_cache_bytes: int | None = None
    """Maximum size of the decoded images that all runs on the machine share; 0 to share none, None to choose."""
    smallest_gpu: str = ""
    """Name of the GPU that limits the batch, if the GPUs differ; "" if not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """Result of a training run."""

    weights: str
    metrics: Mapping[str, float]
    """Metrics of these weights, by the contract's names."""
    note: str
    """Problem outside the training itself; "" if there was none."""


def train(run: FullRun, tell: Callable[[str], None]) -> Trained:
    """Train, or resume the run in the folder.

    Raises:
        DataError: The data set cannot be trained on.
        UsageError: The model does not exist, or the stages are invalid.
        SpaceError: The run in the folder has different settings, or the configuration cannot be trained.
        MachineError: The folder cannot be written, or the trainer does not work.
        StudyLockedError: Another process trains in the folder.
        Interrupted: A signal arrived.
    """
    check_stages(run)
    _make(run.directory)
    with trapped_signals() as signals, scratch_folder(), folder_lock(run.directory / "tune-train.lock"):
        prepared = prepared_by(run.trainer, run.data, run.model, run.directory)
        _check_teacher(run)
        if run.measured_batch:
            run = _with_fitting_batch(run, prepared, signals, tell)
        _refuse_changes(run, prepared)
        for line in _subject(run, prepared):
            tell(line)
        run = replace(run, image_cache_bytes=_cache_bound(run, prepared, tell))
        told = _Told(run, tell)
        end = _carried_out(_request(run, prepared), run, signals, told.report)
    return _trained(run, end)


def _cache_bound(run: FullRun, prepared: PreparedRecord, tell: Callable[[str], None]) -> int:
    sizes = {stage.imgsz for stage in run.stages} or {sizes_of(run.params)[1]}

    def note(line: str) -> None:
        tell(f"images {line}")

    return cache_bound(run.image_cache_bytes, prepared.image_cache, sorted(sizes), is_here=True, tell=note)


def _check_teacher(run: FullRun) -> None:
    """Check before training that the teacher for distillation is a detector.

    Raises:
        UsageError: The teacher is not a detector.
    """
    teacher = run.params.get("distill_model")
    if teacher is not None:
        with tempfile.TemporaryDirectory(prefix="tune-teacher-") as scratch:
            prepared_by(run.trainer, run.data, str(teacher), Path(scratch))


def check_stages(run: FullRun) -> None:
    """Check that the stages follow each other up to the last epoch of the run.

    Raises:
        UsageError: The stages overlap, are out of order, or do not end at the last epoch.
    """
    lasts = [stage.last_epoch for stage in run.stages]
    if lasts and (lasts != sorted(set(lasts)) or lasts[-1] != run.epochs or lasts[0] < 1):
        raise UsageError(
            f"Stages must end at increasing epochs, the last one at the last epoch of the run ({run.epochs}), but they "
            f"end at {', '.join(map(str, lasts))}; correct --stage."
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MachineError(
            f"A run's folder must be writable, but '{folder}' is not ({error.strerror}); choose another with --out."
        ) from error


def _carried_out(
    request: TrainRequest, run: FullRun, signals: Signals, on_record: Callable[[Record], None]
) -> EndRecord:
    with signals.deferred():  # `should_stop` checks for it
        return train_here(
            request,
            run.trainer,
            hang_timeouts=run.hang_timeouts,
            on_record=on_record,
            should_stop=lambda: signals.received is not None,
        )


def _with_fitting_batch(
    run: FullRun, prepared: PreparedRecord, signals: Signals, tell: Callable[[str], None]
) -> FullRun:
    """Set the batch of a run: the one that it started with, or the largest that fits."""
    begun = _begun(run.directory / _SETTINGS)
    devices = max(run.gpus, 1)
    if "params.batch" in begun:
        batch = int(begun["params.batch"])
    else:
        tell("batch  measuring the largest batch that fits into memory")
        request = _request(run, prepared)

        def measure(batch: int) -> float | None:
            return peak_of(
                lambda steps, on_record: _carried_out(steps, run, signals, on_record), request, batch=batch
            ).memory_gib

        most = min(MOST, prepared.num_images["train"])
        memory_gib = run.memory_gib - (_shared_gib(prepared) if devices > 1 else 0.0)
        fit = fitting_batch(measure, memory_gib=memory_gib, most=most)
        batch = devices * fit.batch
        limit = f", as {run.smallest_gpu}, the smallest, has no more" if run.smallest_gpu else ""
        tell(f"batch  {batch}: {fit.memory_gib:.1f} of {memory_gib:.1f} GiB on each device{limit}")
    return replace(run, params={**run.params, "batch": batch})


def _shared_gib(prepared: PreparedRecord) -> float:
    """Estimate the memory of a GPU in GiB for exchanging gradients: a copy of all of them, and NCCL's buffers."""
    return prepared.num_parameters * _GRADIENT_BYTES / 2**30 + _NCCL_GIB


def _begun(file: Path) -> dict[str, Any]:
    """Read the settings of the run in the folder; empty if there are none, or they cannot be read."""
    try:
        body = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _settings(run: FullRun, prepared: PreparedRecord) -> dict[str, object]:
    """Return the settings that identify the run."""
    return {
        "model": run.model,
        "model_sha256": prepared.model_sha256 or prepared.model,
        "data": run.data,
        "data_sha256": prepared.data_sha256,
        "epochs": run.epochs,
        "seed": run.seed,
        "stages": [asdict(stage) for stage in run.stages],
        **{f"params.{name}": value for name, value in sorted(run.params.items()) if name != DETERMINISTIC},
    }


def _refuse_changes(run: FullRun, prepared: PreparedRecord) -> None:
    """Refuse to resume a run with different settings, because its checkpoints would not match."""
    file = run.directory / _SETTINGS
    now = _settings(run, prepared)
    try:
        before = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if (run.directory / WEIGHTS).exists():
            raise UsageError(
                f"A run needs its own folder, but '{run.directory}' has weights of another run; "
                "choose another folder with --out."
            ) from None
        write_whole(file, (json.dumps(now, indent=1) + "\n").encode())
        return
    except (OSError, ValueError) as error:
        raise MachineError(f"'{file}' cannot be read ({error}); choose another folder with --out.") from error
    changes = [
        f"{name.removeprefix('params.')} {before.get(name)} -> {now.get(name)}"
        for name in sorted((before.keys() | now.keys()) - _CONTENT.keys() - set(_CONTENT.values()))
        if before.get(name) != now.get(name)
    ]
    changes += [
        f"content of the {place} {before.get(place)} (sha256 {str(before.get(content))[:12]}) -> "
        f"{now[place]} ({str(now[content])[:12]})"
        for place, content in _CONTENT.items()
        if before.get(content) != now[content]
    ]
    if changes:
        raise SpaceError(
            f"The run in '{run.directory}' was started with different settings: {'; '.join(changes)}. "
            f"{_more_epochs(run, before)}Undo the change, or train in another folder with --out."
        )


def _more_epochs(run: FullRun, before: Mapping[str, Any]) -> str:
    """Explain how to train for longer if more epochs are requested: the schedule ended with the last epoch."""
    asked = before.get("epochs")
    if not isinstance(asked, int) or run.epochs <= asked:
        return ""
    folder = shlex.quote(printable(str(run.directory)))
    return (
        f"The schedule of a run is fixed to its epochs; to train longer, start a new run from its weights: `tune train "
        f"--warm-restart {folder}`, or --model {folder}/weights/last.pt with another --out. "
    )


def _subject(run: FullRun, prepared: PreparedRecord) -> list[str]:
    images = ", ".join(f"{number:,} {split}" for split, number in prepared.num_images.items())
    where = f"{run.gpus} GPUs" if run.gpus > 1 else "one GPU" if run.gpus else f"the CPU, {run.threads} threads"
    start = f"from the weights {run.model}" if run.model.endswith(".pt") else "from random weights"
    sizes = ", then ".join(f"imgsz {s.imgsz}, batch {s.batch} to epoch {s.last_epoch}" for s in run.stages)
    return [
        f"data   {run.data}: {images} images, {prepared.num_classes} classes",
        f"model  {run.model}, {prepared.num_parameters:,} parameters, {start}",
        f"run    {run.epochs} epochs in {run.directory}, on {where}",
        *([f"stages {sizes}"] if sizes else []),
        *(f"note   {note}" for note in prepared.notes),
    ]


def _request(run: FullRun, prepared: PreparedRecord) -> TrainRequest:
    return train_request(
        Inputs.prepared(prepared),
        {**run.params, "save_period": run.save_period},
        study="",
        trial=0,
        epochs=run.epochs,
        validation_epochs=every_epoch(run.epochs),
        seed=run.seed,
        gpus=run.gpus,
        threads=run.threads,
        directory=run.directory,
        full=True,
        stages=run.stages,
        backup=run.backup,
        image_cache_bytes=run.image_cache_bytes or 0,
    )


class _Told:
    """Progress output, one line per epoch."""

    def __init__(self, run: FullRun, tell: Callable[[str], None]) -> None:
        self._epochs = run.epochs
        self._tell = tell
        self._reached = 0

    def report(self, record: Record) -> None:
        if not isinstance(record, EpochRecord) or record.epoch <= self._reached:
            return
        self._reached = record.epoch
        values = {f"{name} loss": loss for name, loss in record.losses.items()} | dict(record.metrics or {})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        left_s = record.seconds * (self._epochs - record.epoch)
        self._tell(
            f"epoch {record.epoch:>{len(str(self._epochs))}}/{self._epochs}  {shown}  "
            f"{record.seconds:.0f} s, {record.memory_gib:.1f} GiB, about {left_s / 3600:.1f} h left"
        )


def _trained(run: FullRun, end: EndRecord) -> Trained:
    log = end.log or str(run.directory / LOG)
    if end.outcome == Outcome.COMPLETED:
        return Trained(weights=end.checkpoint, metrics=dict(end.metrics or {}), note=end.message)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    said = f"The run ended ({end.outcome.value}): {end.message}. Log: {log}."
    if end.outcome in (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY):
        raise SpaceError(f"{said} Run `tune diagnose {printable(str(run.directory))}` to see what to change.")
    raise MachineError(f"{said} {what_helps(end, 'The same command')}")
