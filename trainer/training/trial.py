"""Train one configuration: take a request, and send epoch records and one end record."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from trainer.artifacts.mirror import Mirror
from trainer.data.dataset_writer import write_part
from trainer.exceptions import Stopped, Superseded
from trainer.nn.selective_scan.tuning import keep
from trainer.run_state import end_record, failures
from trainer.run_state.checkpoints import BEST, LAST, Checkpoints
from trainer.run_state.epoch_log import RecordLog, trim_results
from trainer.system import atomic_files
from trainer.system.processes import OomWatch
from trainer.training import distributed, on_host
from trainer.training.backup import Backup
from trainer.ultralytics_bridge import shared_images
from trainer.ultralytics_bridge.checkpoints import check_resumable
from trainer.ultralytics_bridge.training import Epoch, SearchTrainer, named_metrics
from tuner.contract import (
    FULL_RUN_DEFAULTS,
    TRAIN_STEP,
    EndRecord,
    EpochRecord,
    Outcome,
    ProgressRecord,
    Record,
    TrainRequest,
)
from tuner.contract.run_folder import ARGUMENTS, LOCK, LOG, RECORDS, REQUEST, RESULTS, WEIGHTS

logger = logging.getLogger("trainer")

_PROGRESS_S = 1.0
"""Minimum time between two records of the progress in an epoch, and before the first, in seconds."""

_SCAN_CONFIGURATIONS = "scan-configurations.json"
"""File in a run's directory with the configurations of the scan's kernels: a resumed run uses those it began with."""

_OPTIONAL = ("stages", "max_images")
"""Fields that the stored identity omits if empty, like versions without these fields."""

_IDENTITY = ("params", "epochs", "seed", "full", *_OPTIONAL)
_SPEED = frozenset({"deterministic"})
"""Parameters that do not change what is learnt: a run may resume with another value."""

_PLACES = ("model", "data")
"""Fields that must be equal for a checkpoint to belong to a request; for files, the content if its hash is known."""


def run(request: TrainRequest, emit: Callable[[Record], None]) -> EndRecord:
    """Train until `stop_epoch`, divergence, a stop signal or an error; never raise for a failure of training.

    Epochs that an earlier process already trained in `request.directory` are sent again, not trained again. If that
    process has not ended yet, for example after a pause, this one waits for it.
    """
    directory = Path(request.directory)
    directory.mkdir(parents=True, exist_ok=True)

    def train() -> EndRecord:
        with atomic_files.held(directory / LOCK), _mirror_of(request) as mirror:
            shared_images.share(request.image_cache_bytes)
            end = _ended(request, lambda: _Run(on_host.prepared(request), emit, mirror).train())
            with suppress(OSError):  # for example a full disk, which the record on the pipe reports
                end_record.write(directory, end)
            return end if mirror is None else _flushed(request, mirror, end)

    end = _ended(request, train)
    if not (request.shares_files or request.artifacts):
        shutil.rmtree(directory, ignore_errors=True)  # nobody will ever read it
    return end


def train_as_rank(request: TrainRequest, overrides: Mapping[str, Any], *, begins_stage: bool) -> EndRecord:
    """Train one rank of a multi-device run; `overrides` contains the state to resume from."""

    def train() -> EndRecord:
        shared_images.share(request.image_cache_bytes)
        keeps_files = os.environ["RANK"] == "0"
        mirror = Mirror(request) if keeps_files and request.artifacts else None
        run = _Run(request, lambda record: None, mirror)
        trainer = SearchTrainer(overrides, run, full=request.full, begins_stage=begins_stage)
        trainer.train()
        if mirror is not None:
            mirror.close()  # the process that started the ranks pushes the rest
        if not keeps_files:
            return EndRecord(outcome=Outcome.COMPLETED)
        return run.end(named_metrics(trainer.metrics))

    return _ended(request, train)


@contextmanager
def _mirror_of(request: TrainRequest) -> Iterator[Mirror | None]:
    """Fetch the files of the run from its store, and keep the store up to date; None if the request names none."""
    if not request.artifacts:
        yield None
        return
    mirror = Mirror(request)
    try:
        mirror.pull()
        yield mirror
    finally:
        mirror.close()


def _flushed(request: TrainRequest, mirror: Mirror, end: EndRecord) -> EndRecord:
    """Push the files of a run that has ended, and remove them here; return its end record."""
    directory = Path(request.directory)
    epochs = [record.epoch for record in RecordLog(directory).read()]
    try:
        problem = mirror.flush(end, max(epochs, default=0))
    except Superseded:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    except Stopped:  # the tuner cannot wait for long any more
        end = EndRecord(outcome=Outcome.STOPPED, log=end.log)
        problem = mirror.flush(end, max(epochs, default=0))
    if not problem:
        shutil.rmtree(directory, ignore_errors=True)
        return end
    logger.warning("%s; the files stay in %s", problem, directory)
    if end.outcome != Outcome.COMPLETED:
        return end
    if request.full:  # its weights are its result
        return replace(end, outcome=Outcome.ERROR, message=problem, retryable=True)
    return replace(end, message=problem)


def _ended(request: TrainRequest, train: Callable[[], EndRecord]) -> EndRecord:
    """Call `train` and return its end record, or that of the exception it raises."""
    watch = OomWatch()
    try:
        return train()
    except (Exception, Stopped) as error:  # the only place that turns a crash into a record
        end = failures.end_of(error, request, oom_kill=watch.killed())
        if end.outcome == Outcome.STOPPED:
            logger.info("stopped")
        else:
            logger.exception("training failed")
        return end


class _Run:
    """Connection between ultralytics' trainer and the pipe for one request."""

    def __init__(self, request: TrainRequest, emit: Callable[[Record], None], mirror: Mirror | None = None) -> None:
        self._request = request
        self._emit = emit
        self._mirror = mirror
        self._directory = Path(request.directory)
        self._weights = self._directory / WEIGHTS
        self.checkpoints = Checkpoints(self._weights)
        self._records = RecordLog(self._directory)
        self._validation_epochs = frozenset(request.validation_epochs)
        self.last_epoch = request.stop_epoch
        self._backup = Backup(request.backup) if request.backup else None
        self._backup_every = max(int(request.params.get("save_period", FULL_RUN_DEFAULTS["save_period"])), 1)
        self._latest: EpochRecord | None = None
        self._next_progress_s = time.monotonic() + _PROGRESS_S
        self._directory.mkdir(parents=True, exist_ok=True)

    def validates(self, epoch: int) -> bool:
        return epoch in self._validation_epochs

    def batch_trained(self, done: int, total: int) -> None:
        if time.monotonic() >= self._next_progress_s:
            self._emit(ProgressRecord(step=TRAIN_STEP, done=done, total=total))
            self._next_progress_s = time.monotonic() + _PROGRESS_S

    def epoch_trained(self, epoch: Epoch) -> None:
        self._latest = EpochRecord(
            epoch=epoch.number,
            losses=epoch.losses,
            metrics=epoch.metrics,
            seconds=epoch.seconds,
            memory_gib=epoch.memory_gib,
            learning_rate=epoch.learning_rate,
            batch=epoch.batch,
            scan=epoch.scan,
            checkpoint=str(self._weights / LAST),
        )
        self._records.append(self._latest)
        logger.info("%s", _told(self._latest, self._request.epochs))

    def checkpoint_written(self, epoch: int) -> None:
        assert self._latest is not None
        assert self._latest.epoch == epoch
        self._emit(self._latest)
        self._next_progress_s = time.monotonic() + _PROGRESS_S
        if self._backup is not None and epoch % self._backup_every == 0:
            self._backup.copy(self._kept_elsewhere())
        if self._mirror is not None:
            self._mirror.push(epoch)

    def train(self) -> EndRecord:
        finished = self._finished_run()
        if finished is not None:
            return finished
        end_record.remove(self._directory)
        trained = self._epochs_already_trained()
        for record in self._records.restore(trained):
            self._emit(self._here(record))
        trim_results(self._directory, trained)
        if trained >= self.last_epoch:
            return self.end(self._best_recorded())
        if self._request.devices:
            keep(self._directory / _SCAN_CONFIGURATIONS, resumes=trained > 0)
        if self._backup is not None:
            self._backup.probe()
        for part in _parts(_on_few_images(self._request), trained):
            end = self._train_part(part, trained)
            if end.outcome != Outcome.COMPLETED:
                break
            trained = part.request.stop_epoch
        return end

    def _train_part(self, part: "_Part", trained: int) -> EndRecord:
        overrides = dict(part.overrides)
        if trained:
            overrides["resume"] = str(self._weights / LAST)
        num_ranks = len(self._request.devices)
        if num_ranks > 1:
            return distributed.train(
                part.request,
                overrides,
                num_ranks=num_ranks,
                begins_stage=part.begins_stage,
                trained=trained,
                emit=self._emit,
            )
        self.last_epoch = part.request.stop_epoch
        trainer = SearchTrainer(overrides, self, full=part.request.full, begins_stage=part.begins_stage)
        trainer.train()
        return self.end(named_metrics(trainer.metrics)) if part.is_last else EndRecord(outcome=Outcome.COMPLETED)

    def _epochs_already_trained(self) -> int:
        """Make last.pt a checkpoint to resume from, and return its epochs; 0 if this request has none.

        Checkpoints of another request are removed before this request is recorded, so they are never mistaken for its
        own.
        """
        identity = _identity(self._request)
        path, note = self._directory / REQUEST, json.dumps(identity, sort_keys=True).encode()
        with suppress(FileNotFoundError, ValueError):
            if _is_same(json.loads(path.read_text(encoding="utf-8")), identity):
                atomic_files.write_whole(path, note)  # the files may have moved
                return self.checkpoints.recover(check_resumable)
        self.checkpoints.clear()
        atomic_files.write_whole(path, note)
        return 0

    def _finished_run(self) -> EndRecord | None:
        """Return the end record of a completed full run; its stripped checkpoints do not show that it is complete."""
        end = end_record.read(self._directory) if self._request.full else None
        if end is None or end.outcome != Outcome.COMPLETED or not end.checkpoint:  # that of a full run has one
            return None
        for record in self._records.read():
            self._emit(self._here(record))
        return replace(end, checkpoint=str(self._weights / BEST), log=str(self._directory / LOG))

    def _here(self, record: EpochRecord) -> EpochRecord:
        """Return the record of an earlier process with the current path, as the directory may have moved."""
        return replace(record, checkpoint=str(self._weights / LAST))

    def _best_recorded(self) -> Mapping[str, float] | None:
        """Return the metrics of best.pt from its epoch, for a run whose last evaluation was interrupted."""
        validated = [record.metrics for record in self._records.read() if record.metrics is not None]
        return max(validated, key=lambda metrics: metrics["mAP50-95"], default=None)

    def end(self, metrics: Mapping[str, float] | None) -> EndRecord:
        """Return the end record after the last epoch; that of a full run is written before its weights change."""
        end = EndRecord(outcome=Outcome.COMPLETED, log=str(self._directory / LOG))
        if self._request.full:
            end = replace(end, checkpoint=str(self._weights / BEST), metrics=metrics)
            if self._backup is not None:
                self._backup.close(self._kept_elsewhere())
                end = replace(end, message=self._backup.problem)
            end_record.write(self._directory, end)
        self.checkpoints.complete()
        return end

    def _kept_elsewhere(self) -> list[Path]:
        weights = [self._weights / name for name in (LAST, BEST)]
        return [*weights, *(self._directory / name for name in (RECORDS, RESULTS, ARGUMENTS))]


def _identity(request: TrainRequest) -> dict[str, Any]:
    """Return the fields that identify a request, as decoded from JSON."""
    body = asdict(request)
    body["params"] = {name: value for name, value in request.params.items() if name not in _SPEED}
    names = (*_IDENTITY, *_PLACES, *(f"{place}_sha256" for place in _PLACES))
    identity: dict[str, Any] = json.loads(
        json.dumps({name: body[name] for name in names if body[name] or name not in _OPTIONAL})
    )
    return identity


def _is_same(known: object, identity: Mapping[str, Any]) -> bool:
    """Check whether a checkpoint of one request belongs to the other."""

    if not isinstance(known, dict):
        return False

    def content(of: Mapping[str, Any], place: str) -> object:
        hashes = [body.get(f"{place}_sha256") for body in (known, identity)]
        return of.get(f"{place}_sha256") if all(hashes) else of.get(place)

    return all(known.get(name) == identity.get(name) for name in _IDENTITY) and all(
        content(known, place) == content(identity, place) for place in _PLACES
    )


def _told(record: EpochRecord, epochs: int) -> str:
    values = {**{f"{name}_loss": loss for name, loss in record.losses.items()}, **(record.metrics or {})}
    return (
        f"epoch {record.epoch}/{epochs}: {', '.join(f'{name} {value:.4g}' for name, value in values.items())}; "
        f"{record.seconds:.1f} s, {record.memory_gib:.2f} GiB, lr {record.learning_rate:.3g}"
    )


def _on_few_images(request: TrainRequest) -> TrainRequest:
    """Limit the data set to `max_images` per split, written into the directory of the request."""
    if not request.max_images:
        return request
    data = write_part(Path(request.data), Path(request.directory) / "data.yaml", max_images=request.max_images)
    return replace(request, data=str(data))


class _Part(NamedTuple):
    """Part of a run that is trained without a break: the whole run, or a stage."""

    request: TrainRequest
    """Request of this part, as if the run ended with it; `full` only if the run does."""
    overrides: Mapping[str, Any]
    """ultralytics' arguments."""
    begins_stage: bool
    """True if an earlier stage has trained and this one has not."""
    is_last: bool


def _parts(request: TrainRequest, trained: int) -> Iterator[_Part]:
    """Yield the parts left to train after `trained` epochs; at least one if any epoch is left."""
    arguments = _arguments(request)
    stages = [stage for stage in request.stages if stage.last_epoch > trained]
    if not stages:
        yield _Part(request, arguments, begins_stage=False, is_last=True)
    first_epochs = [0, *(stage.last_epoch for stage in request.stages)]
    for stage in stages:
        is_last = min(stage.last_epoch, request.epochs) >= request.stop_epoch
        # No early stopping before the last stage, because the next image size may improve the model.
        patience = arguments["patience"] if stage is request.stages[-1] else 0
        yield _Part(
            replace(
                request,
                stop_epoch=min(stage.last_epoch, request.stop_epoch),
                full=request.full and stage is request.stages[-1],
            ),
            {**arguments, "imgsz": stage.imgsz, "batch": stage.batch, "patience": patience},
            begins_stage=0 < trained == first_epochs[request.stages.index(stage)],
            is_last=is_last,
        )
        if is_last:
            return
        trained = stage.last_epoch


def _arguments(request: TrainRequest) -> dict[str, Any]:
    """Return ultralytics' arguments for a request: its parameters and the values that a search fixes for all trials."""
    if str(request.params.get("optimizer", "auto")).lower() == "auto":
        raise ValueError(
            "`optimizer` must be named, but is ultralytics' default, auto, which ignores lr0 and momentum; "
            "write SGD or AdamW"
        )
    directory = Path(request.directory)
    return {
        **(FULL_RUN_DEFAULTS if request.full else {"patience": 0, "save_period": -1}),
        **request.params,
        "task": "detect",
        "mode": "train",
        "model": request.model,
        "pretrained": request.model.endswith(".pt"),
        "data": request.data,
        "epochs": request.epochs,
        "seed": request.seed,
        "device": ",".join(map(str, request.devices)) if request.devices else "cpu",
        "workers": request.threads,
        "save_dir": str(directory),
        "project": str(directory.parent),
        "name": directory.name,
        "exist_ok": True,
        "save": True,
        "plots": request.full,
        "val": True,
        "verbose": False,
    }
