"""`tune run` and `tune promote`, whole: prepare, search, promote, export."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tuner.contract import EndRecord, Outcome, PreparedRecord, PrepareRequest
from tuner.exceptions import DataError, EnvironmentProblem, SpaceError, StoppedByPolicy, UsageError
from tuner.export import params_yaml, write_params
from tuner.lease import driver_lease
from tuner.paths import StudyPaths
from tuner.promotion import PromotedRun, Winner, choose_winner, full_run_request
from tuner.search import Search, TrialTerms
from tuner.space import Space
from tuner.study import Study, StudySpec
from tuner.view import View

if TYPE_CHECKING:
    from tuner.execution.cluster import Slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """Where to train."""

    gpus: int | None
    """GPUs to use, one a trial; 0 for the CPU; none for all that there are."""
    parallel: int | None
    """Trials at once, when not one a GPU."""
    address: str | None
    """A running Ray cluster, or none to start Ray on this machine."""
    trainer: tuple[str, ...]
    """The command that starts a trainer (see `tuner.contract`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What `tune run` was asked to do."""

    space: Space
    data: str
    model: str
    name: str
    paths: StudyPaths
    storage: str
    machines: Machines
    promote: bool
    validate_every_epoch: bool


class Interrupted(Exception):  # noqa: N818 - an event, not an error
    """The run was ended by a signal, in order; the same command goes on with it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; the same command goes on from here")
        self.exit_code = 128 + signum


def run(options: RunOptions, view: View) -> None:
    """Search, promote the winner, write params.yaml. The same call again goes on where the last one stopped.

    Raises:
        TunerError: see `tuner.exceptions`.
        Interrupted: a signal came; all states are written.
    """
    options.paths.create()
    with driver_lease(options.paths.lock), _trapped_signals() as signals:
        view.note(f"study {options.name} in {options.paths.root}")
        study = _open_study(options, view)
        from tuner.execution.cluster import connected  # Ray takes seconds to import: only when all else is in order

        machines = options.machines
        with connected(gpus=machines.gpus, parallel=machines.parallel, address=machines.address) as slots:
            signals.arm()
            _search(options, study, slots, view, signals)
            winner = choose_winner(study)
            if options.promote:
                _promote(
                    study,
                    options.paths,
                    winner,
                    options.space.settings.promote_epochs,
                    machines,
                    slots,
                    view,
                    signals,
                )
        write_params(params_yaml(study, winner, options.space.settings.promote_epochs), options.paths.params)
        view.conclusion(study, winner, options.paths)


def promote(study: Study, paths: StudyPaths, epochs: int, machines: Machines, view: View) -> None:
    """Train the winner of a finished search in full, or go on with that.

    Raises:
        TunerError: see `tuner.exceptions`.
        Interrupted: a signal came; the run can go on.
    """
    paths.create()
    with driver_lease(paths.lock), _trapped_signals() as signals:
        winner = choose_winner(study)
        from tuner.execution.cluster import connected

        with connected(gpus=machines.gpus, parallel=machines.parallel, address=machines.address) as slots:
            signals.arm()
            _promote(study, paths, winner, epochs, machines, slots, view, signals)
        write_params(params_yaml(study, winner, epochs), paths.params)
        view.conclusion(study, winner, paths)


class _Signals:
    """What came so far."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.listeners: list[Search] = []

    def arm(self) -> dict[int, Any]:
        """Take SIGINT and SIGTERM; returns who had them. To be repeated once Ray, which takes SIGTERM, is up."""
        return {signum: signal.signal(signum, self._handle) for signum in (signal.SIGINT, signal.SIGTERM)}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(128 + signum)  # asked twice: at once; Ray's processes and the trainers end with this one
        self.received = signum
        for search in self.listeners:
            search.stop(f"stopped by {signal.Signals(signum).name}")

    def check(self) -> None:
        if self.received is not None:
            raise Interrupted(self.received)


@contextlib.contextmanager
def _trapped_signals() -> Iterator[_Signals]:
    """SIGINT and SIGTERM end the block in order; a second one ends the process."""
    signals = _Signals()
    before = signals.arm()
    try:
        yield signals
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _open_study(options: RunOptions, view: View) -> Study:
    """The study, begun now or gone on with; its data set and model are checked either way."""
    prepared = prepare(options.machines.trainer, options.data, options.model, options.paths.root)
    spec = _spec(options, prepared)
    study = Study.open_or_create(options.storage, options.name, spec)
    _refuse_changes(study, options, prepared)
    view.subject(study.spec, options.space, prepared.notes)
    return study


def prepare(command: Sequence[str], data: str, model: str, directory: Path) -> PreparedRecord:
    """Have the trainer check a data set and a model.

    Raises:
        DataError: the data set cannot be trained on.
        UsageError: there is no such model.
        EnvironmentProblem: the trainer does not work.
    """
    from tuner.execution.trainer_process import TrainerProcess

    trainer = TrainerProcess(command)
    try:
        trainer.send(PrepareRequest(data=data, model=model, directory=str(directory)))
        prepared: PreparedRecord | None = None
        while True:
            for record in trainer.receive(timeout_s=1.0):
                if isinstance(record, PreparedRecord):
                    prepared = record
                if isinstance(record, EndRecord):
                    return _prepared(prepared, record)
    finally:
        trainer.close()


def _prepared(prepared: PreparedRecord | None, end: EndRecord) -> PreparedRecord:
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    if end.outcome == Outcome.BAD_MODEL:
        raise UsageError(end.message)
    if end.outcome != Outcome.COMPLETED or prepared is None:
        raise EnvironmentProblem(f"The trainer cannot be used: {end.message}. `tune doctor` looks for the cause.")
    return prepared


def _spec(options: RunOptions, prepared: PreparedRecord) -> StudySpec:
    settings = options.space.settings
    return StudySpec(
        space_name=options.space.name,
        space=options.space.canonical(),
        metric=settings.metric,
        model=options.model,
        model_source=prepared.model,
        portable_model=prepared.portable_model,
        data=options.data,
        data_source=prepared.data,
        data_sha256=prepared.data_sha256,
        num_classes=prepared.num_classes,
        num_images=prepared.num_images,
        num_parameters=prepared.num_parameters,
        epochs=settings.epochs,
        rungs=settings.rung_epochs,
        reduction_factor=settings.reduction_factor,
        promote_epochs=settings.promote_epochs,
        seed=settings.seed,
        versions=prepared.versions,
    )


def _refuse_changes(study: Study, options: RunOptions, prepared: PreparedRecord) -> None:
    """A study is about one space, one model and one data set: its trials could not be compared otherwise."""
    spec = study.spec
    changes = options.space.differences(spec.space)
    if spec.model_source != prepared.model:
        changes.append(f"the model was {spec.model}, now it is {options.model}")
    if spec.data_sha256 != prepared.data_sha256:
        changes.append(f"the data set was {spec.data} (sha256 {spec.data_sha256[:12]}), now it is {options.data}")
    if changes:
        raise SpaceError(
            f"The study '{study.name}' was begun differently: {'; '.join(changes)}. "
            "Undo the change, or begin another study with --study NAME."
        )


def _search(options: RunOptions, study: Study, slots: "Slots", view: View, signals: _Signals) -> None:
    from tuner.execution.ray_search import run_search

    terms = TrialTerms(
        threads=slots.threads,
        gpus_per_trial=slots.gpus_per_trial,
        validate_every_epoch=options.validate_every_epoch,
    )
    search = Search(study, options.space, options.paths, terms, on_event=view.note)
    signals.listeners.append(search)
    signals.check()
    if not search.finished:
        with view.watching(search, slots):
            run_search(search, slots, options.machines.trainer)
    signals.check()
    if search.failure_policy is not None:
        raise StoppedByPolicy(f"The search was ended: {search.stop_reason}. Logs: {options.paths.root / 'trials'}")


def _promote(
    study: Study,
    paths: StudyPaths,
    winner: Winner,
    epochs: int,
    machines: Machines,
    slots: "Slots",
    view: View,
    signals: _Signals,
) -> None:
    from tuner.execution.remote_trainer import gpus_of_largest_node, train_remotely

    gpus = min(slots.number * slots.gpus_per_trial, gpus_of_largest_node())
    threads = slots.number * slots.threads
    promoted = PromotedRun(study, full_run_request(study, paths, winner, epochs=epochs, gpus=gpus, threads=threads))
    with view.watching_promotion(promoted):
        end = train_remotely(
            promoted.request,
            machines.trainer,
            cpus=slots.number * slots.cpus,
            hear=promoted.hear,
            should_stop=lambda: signals.received is not None,
        )
    promoted.end(end)
    signals.check()
    if end.outcome != Outcome.COMPLETED:
        raise EnvironmentProblem(
            f"The promoted run ended as {end.outcome.value}: {end.message}. "
            f"Log: {end.log or promoted.request.directory}. `tune promote {study.name}` goes on with it."
        )
