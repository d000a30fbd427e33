"""`tune run` and `tune promote`, whole: prepare, search, compare, promote, export."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import Outcome, PreparedRecord
from tuner.cost.actual import noted
from tuner.cost.epoch_times import TimedEpoch
from tuner.cost.estimate import Quotation, quote
from tuner.cost.forecast import Forecast
from tuner.exceptions import DataError, EnvironmentProblem, NoTrialSucceeded, SpaceError
from tuner.execution.prepare import prepared_by
from tuner.report.cost import Terms as QuotationTerms
from tuner.report.cost import quotation_lines
from tuner.report.progress import View
from tuner.search.results import configurations
from tuner.search.search import Search
from tuner.storage.lease import Lease, folder_lock, study_lease
from tuner.study import DrivenStudy, StudyPaths, StudySpec, best_trial, content_changes, driven_study
from tuner.system.disk_space import needed_bytes, require, reserve_bytes
from tuner.system.scratch import remove, scratch_folder
from tuner.system.signals import Signals, trapped_signals
from tuner.training.export import params_yaml, write_params
from tuner.training.final_run import (
    PromotedRun,
    Winner,
    choose_winner,
    full_run_request,
    require_something_learnt,
    waiting,
)
from tuner.trials.requests import TrialTerms
from tuner.trials.retry_policy import what_helps
from tuner.workflows.options import Machines, RunOptions
from tuner.workflows.places import prepared_again
from tuner.workflows.profiling import known_epoch, measure_memory, timed_epoch

if TYPE_CHECKING:
    from tuner.execution.cluster import Slots
    from tuner.execution.ray_search import Terms


_FLUSH_S = 300.0
"""How long a finished run waits for a database that is away before it leaves the rest to the next one."""

_LAST_FLUSH_S = 5.0
"""The same, for one that must end now."""

_SIGNAL_S = 2.0
"""How long a signal may take to be heard of by a main thread that waits for Ray."""


def run(options: RunOptions, view: View) -> None:
    """Search, compare the best with the default configuration, promote the winner, write params.yaml.

    The same call again goes on where the last one stopped.

    Raises:
        TunerError: see `tuner.exceptions`.
        Interrupted: a signal came; all states are written.
    """
    options.paths.create()
    with (
        trapped_signals() as signals,
        scratch_folder(),
        _held(options.storage, options.name, options.paths, view) as lease,
    ):
        view.note(f"study {options.name} in {options.paths.root}")
        prepared = prepared_by(options.machines.trainer, options.data, options.model, options.paths.root)
        with driven_study(lease, _spec(options, prepared), options.paths.journal, view.note) as study:
            _refuse_changes(study, options, prepared)
            study.renew_places(_spec(options, prepared))
            view.subject(study.spec, options.space, prepared.notes)
            with _machines(options.machines, study, view, signals) as slots:
                _require_room(options, study, slots)
                forecast = _quote(options, prepared, study, slots, view)
                measure_memory(options, study, slots, signals, view.note)
                terms = _terms(options, study, slots)
                _search(options, study, slots, terms, forecast, view, signals)
                # A lone zero is no search: who only tries whether all runs promotes nothing, and wastes nothing.
                if options.promote or configurations(study.trials()) > 1:
                    require_something_learnt(study, options.paths)
                _reevaluate(options, study, slots, terms, forecast, view, signals)
                winner = choose_winner(study)
                if options.promote:
                    epochs = options.space.settings.promote_epochs
                    _promote(study, options.paths, winner, epochs, options.machines, slots, view, signals)
            study.flush(_FLUSH_S)
            write_params(params_yaml(study, winner, options.space.settings.promote_epochs), options.paths.params)
            view.conclusion(study, winner, options.paths)


def quote_only(options: RunOptions, view: View) -> None:
    """What the run would cost, by one timed epoch of the default configuration; leaves nothing behind.

    Raises:
        TunerError: see `tuner.exceptions`.
    """
    with trapped_signals() as signals, scratch_folder() as scratch:
        folder = scratch / "quote"
        folder.mkdir()
        prepared = prepared_by(options.machines.trainer, options.data, options.model, folder)
        view.subject(_spec(options, prepared), options.space, prepared.notes)
        with _connected(options.machines, signals) as slots:
            epoch = timed_epoch(options, prepared, slots, folder, signals)
            quotation = quote(options.space, slots=slots.number)
            view.quotation(_quoted(options, quotation, prepared.checkpoint_bytes, slots, epoch))


def promote(
    url: str,
    name: str,
    paths: StudyPaths,
    epochs: int | None,
    machines: Machines,
    view: View,
    *,
    data: str | None = None,
    model: str | None = None,
) -> None:
    """Train the winner of a finished search in full, or go on with that.

    Args:
        epochs: none for as many as the study was begun with. A length that is named is trained even where nothing was
            learnt: too few epochs may be why.
        data: where the data set lies now; none for where it lay.
        model: the same of the model.

    Raises:
        TunerError: see `tuner.exceptions`.
        Interrupted: a signal came; the run can go on.
    """
    paths.create()
    with (
        trapped_signals() as signals,
        scratch_folder(),
        _held(url, name, paths, view) as lease,
        driven_study(lease, None, paths.journal, view.note) as study,
    ):
        winner = choose_winner(study)
        if epochs is None:  # who names a length has read why, or wants to see it
            require_something_learnt(study, paths)
        study.renew_places(prepared_again(name, study.spec, paths, machines.trainer, data=data, model=model))
        length = epochs or study.spec.promote_epochs
        with _machines(machines, study, view, signals) as slots:
            _promote(study, paths, winner, length, machines, slots, view, signals)
        study.flush(_FLUSH_S)
        write_params(params_yaml(study, winner, length), paths.params)
        view.conclusion(study, winner, paths)


@contextlib.contextmanager
def _held(url: str, name: str, paths: StudyPaths, view: View) -> Iterator[Lease]:
    """The study, for this driver alone: its folder and its record."""
    require(paths.root, reserve_bytes(checkpoint_bytes=0, slots=0), "A study")
    with folder_lock(paths.lock), study_lease(url, name, view.note) as lease:
        yield lease


@contextlib.contextmanager
def _machines(machines: Machines, study: DrivenStudy, view: View, signals: Signals) -> Iterator["Slots"]:
    from tuner.execution.ray_health import watched

    def leave(what: str) -> None:
        """The main thread hangs in Ray for good: write the states and end the process from this one."""
        asked = signals.awaited(_SIGNAL_S)  # who signals every process, as systemd does, has ended Ray with it
        with contextlib.suppress(Exception):
            study.interrupt_all()
            study.flush(_LAST_FLUSH_S)
        remove(scratch)
        sys.stderr.write(f"{asked or f'{what}; nothing is lost: the same command goes on from here'}\n")
        sys.stderr.flush()
        os._exit(asked.exit_code if asked else EnvironmentProblem.exit_code)

    try:
        with (
            scratch_folder() as scratch,
            _connected(machines, signals) as slots,
            watched(leave, is_ending=lambda: signals.awaited() is not None),
        ):
            yield slots
    finally:
        signals.arm()


@contextlib.contextmanager
def _connected(machines: Machines, signals: Signals) -> Iterator["Slots"]:
    from tuner.execution.cluster import connected  # Ray takes seconds to import: only when all else is in order

    with connected(gpus=machines.gpus, parallel=machines.parallel, address=machines.address) as slots:
        signals.arm()
        yield slots


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
        checkpoint_bytes=prepared.checkpoint_bytes,
        epochs=settings.epochs,
        rungs=settings.rung_epochs,
        reduction_factor=settings.reduction_factor,
        promote_epochs=settings.promote_epochs,
        seed=settings.seed,
        versions=prepared.versions,
        warm_start=options.warm_start,
        model_sha256=prepared.model_sha256,
        sources=prepared.sources,
    )


def _refuse_changes(study: DrivenStudy, options: RunOptions, prepared: PreparedRecord) -> None:
    """A study is about one space, one model and one data set: its trials could not be compared otherwise."""
    changes = [
        *options.space.differences(study.spec.space),
        *content_changes(study.spec, prepared, data=options.data, model=options.model),
    ]
    if changes:
        raise SpaceError(
            f"The study '{study.name}' was begun differently: {'; '.join(changes)}. "
            "Undo the change, or begin another study with --study NAME."
        )


def _quote(options: RunOptions, prepared: PreparedRecord, study: DrivenStudy, slots: "Slots", view: View) -> Forecast:
    """What the run will cost; told and noted as long as the search has not begun."""
    settings = options.space.settings
    quotation = quote(options.space, slots=slots.number)
    epoch = known_epoch(options, prepared, slots)
    if not study.trials():
        study.note_rehearsal(quotation=noted(quotation, trials=settings.trials, slots=slots.number))
        view.quotation(_quoted(options, quotation, study.spec.checkpoint_bytes, slots, epoch))
    return Forecast(
        quotation=quotation,
        slots=slots.number,
        epochs=settings.epochs,
        promote_epochs=settings.promote_epochs if options.promote else 0,
        epoch_s=None if epoch is None else epoch.seconds,
    )


def _quoted(
    options: RunOptions,
    quotation: Quotation,
    checkpoint_bytes: int,
    slots: "Slots",
    epoch: TimedEpoch | None,
) -> list[str]:
    settings = options.space.settings
    terms = QuotationTerms(
        slots=slots.number,
        gpus_per_trial=slots.gpus_per_trial,
        epochs=settings.epochs,
        promote_epochs=settings.promote_epochs if options.promote else 0,
        epoch_s=None if epoch is None else epoch.seconds,
        source="" if epoch is None else epoch.source(time.time()),
        disk_bytes=_needed_bytes(options, checkpoint_bytes, slots, done=0),
    )
    return quotation_lines(quotation, terms)


def _require_room(options: RunOptions, study: DrivenStudy, slots: "Slots") -> None:
    done = sum(trial.state.is_finished() for trial in study.trials())
    require(options.paths.root, _needed_bytes(options, study.spec.checkpoint_bytes, slots, done=done), "The search")


def _needed_bytes(options: RunOptions, checkpoint_bytes: int, slots: "Slots", *, done: int) -> int:
    settings = options.space.settings
    return needed_bytes(
        checkpoint_bytes=checkpoint_bytes,
        slots=slots.number,
        trials=max(settings.trials - done, 0),
        reduction_factor=settings.reduction_factor if settings.rung_epochs else 1,
        promote_epochs=settings.promote_epochs if options.promote else 0,
        pausing_rungs=0 if settings.strategy == "asha" else len(settings.rung_epochs),
    )


def _terms(options: RunOptions, study: DrivenStudy, slots: "Slots") -> "Terms":
    from tuner.execution.ray_search import Terms

    return Terms(
        command=options.machines.trainer,
        patience=options.machines.patience,
        folder=options.paths.root,
        reserve_bytes=reserve_bytes(checkpoint_bytes=study.spec.checkpoint_bytes, slots=slots.number),
    )


def _trial_terms(options: RunOptions, slots: "Slots") -> TrialTerms:
    return TrialTerms(
        threads=slots.threads,
        gpus_per_trial=slots.gpus_per_trial,
        validate_every_epoch=options.validate_every_epoch,
    )


def _search(
    options: RunOptions,
    study: DrivenStudy,
    slots: "Slots",
    terms: "Terms",
    forecast: Forecast,
    view: View,
    signals: Signals,
) -> None:
    from tuner.execution.ray_search import train_on_ray

    each = _trial_terms(options, slots)
    search = Search(study, options.space, options.paths, each, on_event=view.note, bounds=options.bounds)
    if not search.finished:
        with signals.ending(search.stop), view.watching(search, slots, forecast):
            train_on_ray(search, slots, terms, at_start=signals.arm)
    if search.stop_reason is not None and best_trial(study.trials()) is None:
        left = waiting(study.trials())
        raise NoTrialSucceeded(
            f"The search has ended before a trial ran to its end: {search.stop_reason}{left and '; ' + left}. "
            "The same command with a larger number goes on."
        )


def _reevaluate(
    options: RunOptions,
    study: DrivenStudy,
    slots: "Slots",
    terms: "Terms",
    forecast: Forecast,
    view: View,
    signals: Signals,
) -> None:
    """Compare the best with the default configuration before anything is promoted."""
    from tuner.execution.ray_search import train_on_ray

    plan = plan_for(study, options.space.settings.reevaluation_runs)
    if plan is None:
        return
    each = _trial_terms(options, slots)
    reevaluation = Reevaluation(study, plan, options.paths, each, slots=slots.number, on_event=view.note)
    if not reevaluation.finished:
        with signals.ending(reevaluation.stop), view.watching_reevaluation(reevaluation, forecast):
            train_on_ray(reevaluation, slots, terms, at_start=signals.arm)


def _promote(
    study: DrivenStudy,
    paths: StudyPaths,
    winner: Winner,
    epochs: int,
    machines: Machines,
    slots: "Slots",
    view: View,
    signals: Signals,
) -> None:
    from tuner.execution.remote_trainer import gpus_of_largest_node, train_remotely

    gpus = min(slots.number * slots.gpus_per_trial, gpus_of_largest_node())
    threads = slots.number * slots.threads
    promoted = PromotedRun(study, full_run_request(study, paths, winner, epochs=epochs, gpus=gpus, threads=threads))
    # A signal is seen by `should_stop`.
    with signals.ending(lambda reason: None), view.watching_promotion(promoted):
        end = train_remotely(
            promoted.request,
            machines.trainer,
            patience=machines.patience,
            cpus=slots.number * slots.cpus,
            on_record=promoted.hear,
            should_stop=lambda: signals.received is not None,
        )
        promoted.end(end)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(f"The promoted run met data that cannot be trained on: {end.message}")
    if end.outcome != Outcome.COMPLETED:
        raise EnvironmentProblem(
            f"The promoted run ended as {end.outcome.value}: {end.message}. "
            f"Log: {end.log or promoted.request.directory}. {what_helps(end, f'`tune promote {study.name}`')}"
        )
