"""`tune train`, whole: one training run of one configuration, which the same command goes on with."""

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
from tuner.exceptions import DataError, EnvironmentProblem, SpaceError, UsageError
from tuner.execution.local_trainer import train_here
from tuner.execution.memory_probe import peak_of
from tuner.execution.prepare import prepared_by
from tuner.execution.watchdog import Patience
from tuner.memory.batch_size import MOST, fitting_batch
from tuner.storage.lease import folder_lock
from tuner.system.atomic_files import write_whole
from tuner.system.printable import printable
from tuner.system.scratch import scratch_folder
from tuner.system.signals import Signals, trapped_signals
from tuner.trials.retry_policy import what_helps

PATIENCE = 50
"""Epochs without a better one, by default, after which a run ends."""

_SETTINGS = "tune-train.json"

_CONTENT = {"data": "data_sha256", "model": "model_sha256"}
"""Settings that say where something lies, and those that say what it is: these count."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FullRun:
    """What to train, and where to."""

    params: Mapping[str, ParamValue]
    model: str
    data: str
    epochs: int
    seed: int
    stages: tuple[Stage, ...]
    save_period: int
    """A checkpoint is kept every so many epochs, under a name of its own."""
    backup: str
    """Folder, by path or URL, for copies of the weights; empty for none."""
    directory: Path
    """Absolute."""
    measured_batch: bool
    """Take the largest batch that fits, instead of that in `params`."""
    memory_gib: float
    """Of each device."""
    gpus: int
    threads: int
    trainer: tuple[str, ...]
    patience: Patience


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What came of it."""

    weights: str
    metrics: Mapping[str, float]
    """Of these weights, by the contract's names."""
    note: str
    """What went wrong beside the training; empty where nothing did."""


def train(run: FullRun, tell: Callable[[str], None]) -> Trained:
    """Train, or go on with the run that is in the folder.

    Raises:
        DataError: the data set cannot be trained on.
        UsageError: there is no such model, or stages that make no run.
        SpaceError: the run in the folder was begun differently, or the configuration cannot be trained.
        EnvironmentProblem: the folder cannot be written, or the trainer does not work.
        StudyLocked: another process trains in the folder.
        Interrupted: a signal came.
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
        told = _Told(run, tell)
        end = _carried_out(_request(run, prepared), run, signals, told.hear)
    return _trained(run, end)


def _check_teacher(run: FullRun) -> None:
    """Refuse weights to learn from that are no detector, before anything is trained.

    Raises:
        UsageError: they are not.
    """
    teacher = run.params.get("distill_model")
    if teacher is not None:
        with tempfile.TemporaryDirectory(prefix="tune-teacher-") as scratch:
            prepared_by(run.trainer, run.data, str(teacher), Path(scratch))


def check_stages(run: FullRun) -> None:
    """Stages must follow each other to the end of the run.

    Raises:
        UsageError: they do not.
    """
    lasts = [stage.last_epoch for stage in run.stages]
    if lasts and (lasts != sorted(set(lasts)) or lasts[-1] != run.epochs or lasts[0] < 1):
        raise UsageError(
            f"Stages must end at rising epochs, the last at the last of the run ({run.epochs}), but they end at "
            f"{', '.join(map(str, lasts))}."
        )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise EnvironmentProblem(
            f"A run's folder must be writable, but '{folder}' is not ({error.strerror}); choose another with --out."
        ) from error


def _carried_out(request: TrainRequest, run: FullRun, signals: Signals, hear: Callable[[Record], None]) -> EndRecord:
    with signals.ending(lambda reason: None):  # it is seen by `should_stop`
        return train_here(
            request, run.trainer, patience=run.patience, hear=hear, should_stop=lambda: signals.received is not None
        )


def _with_fitting_batch(
    run: FullRun, prepared: PreparedRecord, signals: Signals, tell: Callable[[str], None]
) -> FullRun:
    """The run with the batch that it was begun with, or the largest that fits."""
    begun = _begun(run.directory / _SETTINGS)
    devices = max(run.gpus, 1)
    if "params.batch" in begun:
        batch = int(begun["params.batch"])
    else:
        tell("batch  measuring what fits into memory")
        request = _request(run, prepared)

        def measure(batch: int) -> float | None:
            return peak_of(lambda steps, hear: _carried_out(steps, run, signals, hear), request, batch=batch).memory_gib

        most = min(MOST, prepared.num_images["train"])
        fit = fitting_batch(measure, memory_gib=run.memory_gib, most=most)
        batch = devices * fit.batch
        tell(f"batch  {batch}: {fit.memory_gib:.1f} of {run.memory_gib:.1f} GiB on each device")
    return replace(run, params={**run.params, "batch": batch})


def _begun(file: Path) -> dict[str, Any]:
    """The settings of the run that is there; empty where there is none that can be read."""
    try:
        body = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _settings(run: FullRun, prepared: PreparedRecord) -> dict[str, object]:
    """What makes it this run and no other."""
    return {
        "model": run.model,
        "model_sha256": prepared.model_sha256 or prepared.model,
        "data": run.data,
        "data_sha256": prepared.data_sha256,
        "epochs": run.epochs,
        "seed": run.seed,
        "stages": [asdict(stage) for stage in run.stages],
        **{f"params.{name}": value for name, value in sorted(run.params.items())},
    }


def _refuse_changes(run: FullRun, prepared: PreparedRecord) -> None:
    """A run is of one configuration: with another, its checkpoints would have to go."""
    file = run.directory / _SETTINGS
    now = _settings(run, prepared)
    try:
        before = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        if (run.directory / WEIGHTS).exists():
            raise UsageError(
                f"A run needs a folder of its own, but '{run.directory}' has weights of another; choose one with --out."
            ) from None
        write_whole(file, (json.dumps(now, indent=1) + "\n").encode())
        return
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(f"'{file}' cannot be read ({error}); choose another folder with --out.") from error
    changes = [
        f"{name.removeprefix('params.')} was {before.get(name)}, now it is {now.get(name)}"
        for name in sorted((before.keys() | now.keys()) - _CONTENT.keys() - set(_CONTENT.values()))
        if before.get(name) != now.get(name)
    ]
    changes += [
        f"the content of the {place} was that of {before.get(place)} (sha256 {str(before.get(content))[:12]}), "
        f"now it is that of {now[place]} ({str(now[content])[:12]})"
        for place, content in _CONTENT.items()
        if before.get(content) != now[content]
    ]
    if changes:
        raise SpaceError(
            f"The run in '{run.directory}' was begun differently: {'; '.join(changes)}. "
            f"{_more_epochs(run, before)}Undo the change, or train in another folder with --out."
        )


def _more_epochs(run: FullRun, before: Mapping[str, Any]) -> str:
    """How a run is trained for longer, where that is asked: its schedule ended with its last epoch."""
    asked = before.get("epochs")
    if not isinstance(asked, int) or run.epochs <= asked:
        return ""
    folder = shlex.quote(printable(str(run.directory)))
    return (
        f"The schedule of a run is laid out for its epochs; for more, start a new run from its weights: `tune train "
        f"--warm-restart {folder}`, or --model {folder}/weights/last.pt with another --out. "
    )


def _subject(run: FullRun, prepared: PreparedRecord) -> list[str]:
    images = ", ".join(f"{number:,} {split}" for split, number in prepared.num_images.items())
    where = f"{run.gpus} GPUs" if run.gpus > 1 else "one GPU" if run.gpus else f"the CPU, {run.threads} threads"
    start = f"from the weights {run.model}" if run.model.endswith(".pt") else "from random weights"
    sizes = ", then ".join(f"imgsz {s.imgsz}, batch {s.batch} to epoch {s.last_epoch}" for s in run.stages)
    return [
        f"data   {run.data}: {images} pictures, {prepared.num_classes} classes",
        f"model  {run.model}, {prepared.num_parameters:,} parameters, {start}",
        f"run    {run.epochs} epochs in {run.directory}, on {where}",
        *([f"stages {sizes}"] if sizes else []),
        *(f"note   {note}" for note in prepared.notes),
    ]


def _request(run: FullRun, prepared: PreparedRecord) -> TrainRequest:
    return TrainRequest(
        study="",
        trial=0,
        params={**run.params, "save_period": run.save_period},
        model=prepared.model,
        data=prepared.data,
        data_sha256=prepared.data_sha256,
        model_sha256=prepared.model_sha256,
        epochs=run.epochs,
        stop_epoch=run.epochs,
        validation_epochs=tuple(range(1, run.epochs + 1)),
        seed=run.seed,
        devices=tuple(range(run.gpus)),
        threads=run.threads,
        directory=str(run.directory),
        full=True,
        stages=run.stages,
        backup=run.backup,
    )


class _Told:
    """A line an epoch."""

    def __init__(self, run: FullRun, tell: Callable[[str], None]) -> None:
        self._epochs = run.epochs
        self._tell = tell
        self._reached = 0

    def hear(self, record: Record) -> None:
        if not isinstance(record, EpochRecord) or record.epoch <= self._reached:
            return
        self._reached = record.epoch
        figures = {f"{name} loss": loss for name, loss in record.losses.items()} | dict(record.metrics or {})
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        left_s = record.seconds * (self._epochs - record.epoch)
        self._tell(
            f"epoch {record.epoch:>{len(str(self._epochs))}}/{self._epochs}  {shown}  "
            f"{record.seconds:.0f} s, {record.memory_gib:.1f} GiB, about {left_s / 3600:.1f} h to go"
        )


def _trained(run: FullRun, end: EndRecord) -> Trained:
    log = end.log or str(run.directory / LOG)
    if end.outcome == Outcome.COMPLETED:
        return Trained(weights=end.checkpoint, metrics=dict(end.metrics or {}), note=end.message)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    said = f"The run ended as {end.outcome.value}: {end.message}. Log: {log}."
    if end.outcome in (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY):
        raise SpaceError(f"{said} `tune diagnose {printable(str(run.directory))}` says what to change.")
    raise EnvironmentProblem(f"{said} {what_helps(end, 'The same command')}")
