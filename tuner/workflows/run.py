"""Carry out `tune run` and `tune promote`: prepare, search, compare, train the winner in full, export."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tuner.comparison.reevaluation import Reevaluation, plan_for
from tuner.contract import PreparedRecord
from tuner.cost.estimate import estimate_cost
from tuner.cost.forecast import Forecast
from tuner.exceptions import NoSuccessfulTrialError, SpaceError
from tuner.execution.prepare import prepared_by
from tuner.execution.slot_health import SlotHealth
from tuner.memory.image_cache import cache_bound
from tuner.memory.limits import sizes_of
from tuner.report.progress import View
from tuner.search.results import configurations
from tuner.search.search import Search
from tuner.search.start_points import start_points
from tuner.study import (
    StudyPaths,
    StudySession,
    StudySpec,
    Timeline,
    best_trial,
    content_changes,
    driven_study,
)
from tuner.system.disk_space import reserve_bytes
from tuner.system.scratch import scratch_folder
from tuner.system.signals import trapped_signals
from tuner.trackers.tracking import tracked
from tuner.training.export import params_yaml, write_params
from tuner.training.final_run import (
    choose_winner,
    require_something_learnt,
    waiting,
)
from tuner.trials.requests import TrialTerms
from tuner.workflows.cost_estimate import estimate_lines, estimate_run, require_room
from tuner.workflows.hooks import RunEnd
from tuner.workflows.machines import (
    connected_machines,
    devices_of,
    held_study,
    load_ray,
    looked_over,
    note_gpus,
    shared_images,
    watched_machines,
)
from tuner.workflows.options import Machines, RunOptions
from tuner.workflows.places import prepared_again
from tuner.workflows.profiling import measure_memory, timed_epoch
from tuner.workflows.run_files import write_card
from tuner.workflows.session import Session
from tuner.workflows.sharing import measured_slots, note_mps, shared_slots
from tuner.workflows.stored_runs import reevaluation_in, require_store, search_in, stored_runs
from tuner.workflows.winner_training import train_in_full

if TYPE_CHECKING:
    from tuner.execution.ray_search import Terms


_FLUSH_S = 300.0
"""Seconds that a finished run waits for an unavailable database before it leaves the rest to the next run."""


def run(options: RunOptions, view: View, end: RunEnd) -> None:
    """Search, compare the best with the default configuration, train the winner in full, write params.yaml.

    The same call again resumes where the last one stopped.

    Args:
        options: Options of the run.
        view: View that shows the progress.
        end: Learns about the study, for the hooks.

    Raises:
        TunerError: see `tuner.exceptions`.
        Interrupted: a signal arrived; all states are written.
    """
    options.paths.create()
    with (
        trapped_signals() as signals,
        scratch_folder(),
        held_study(options.storage, options.name, options.paths, view.note) as lease,
        tracked(options.trackers, options.paths, view.note) as tracking,
    ):
        view.note(f"study {options.name} in {options.paths.root}")
        require_store(options.machines.artifacts)
        view.preparing("checking the data set and the model")
        trainer, load = options.machines.trainer, partial(load_ray, signals)
        prepared = prepared_by(
            trainer,
            options.data,
            options.model,
            options.paths.root,
            gpus=options.machines.gpus != 0 and options.machines.address is None,
            on_compile=lambda: view.preparing("compiling the selective scan for the GPUs"),
            meanwhile=load,
        )
        view.preparing("opening the study")
        with driven_study(lease, _spec(options, prepared), options.paths.journal, view.note) as study:
            end.reads(study)
            options = replace(options, space=options.space.with_default_rungs_of(study.spec.space))
            _refuse_changes(study, options, prepared)
            study.renew_places(_spec(options, prepared))
            if options.command:
                study.record_command(options.command)
            stored = stored_runs(study, options.machines, options.paths, view.note)
            if stored is not None:
                options = replace(options, machines=replace(options.machines, artifacts=stored.place))
            tracking.follow(study)
            view.subject(study.spec, options.space, prepared.notes)
            view.preparing("starting Ray")
            with watched_machines(options.machines, study, signals, end) as slots:
                slots = looked_over(slots, options, prepared, view.note)
                note_mps(slots, options.machines, view.note)
                if options.machines.trials_per_gpu is None:
                    view.preparing("measuring how many trials share a GPU")
                slots = shared_slots(options, prepared, study, slots, signals, view.note)
                view.preparing("estimating the cost")
                needed_bytes = require_room(options, study, slots)
                image_cache_bytes = shared_images(
                    slots, options, prepared, reserved_bytes=needed_bytes, on_event=view.note
                )
                forecast = estimate_run(options, prepared, study, slots, view.cost_estimate)
                view.preparing("measuring which sizes fit into memory")
                measure_memory(options, study, slots, signals, view.note)
                view.preparing("starting the trainers")
                session = Session(
                    study=study,
                    paths=options.paths,
                    machines=options.machines,
                    slots=slots,
                    view=view,
                    signals=signals,
                    health=SlotHealth(slots.places),
                    allotment=devices_of(options.machines, slots),
                    image_cache_bytes=image_cache_bytes,
                    stored=stored,
                )
                _search(session, options, forecast)
                # A single configuration with the value 0 may be a test of the setup, so it is only an error
                # before a final run.
                if options.promote or configurations(study.trials()) > 1:
                    require_something_learnt(study, options.paths)
                _reevaluate(session, options, forecast)
                winner = choose_winner(study)
                if options.promote:
                    settings = options.space.settings
                    train_in_full(session, winner, settings.promote_epochs, settings.promote_deterministic)
            view.preparing("writing the results")
            study.flush(_FLUSH_S)
            write_params(params_yaml(study, winner, options.space.settings.promote_epochs), options.paths.params)
            write_card(study, options.paths, options.machines.trainer, view.note)
            end.write_report()
            view.conclusion(study, winner, options.paths)


def estimate_only(options: RunOptions, view: View) -> None:
    """Estimate the cost of a run by one timed epoch of the default configuration; leave nothing behind.

    Raises:
        TunerError: see `tuner.exceptions`.
    """
    with trapped_signals() as signals, scratch_folder() as scratch:
        folder = scratch / "estimate"
        folder.mkdir()
        view.preparing("checking the data set and the model")
        prepared = prepared_by(options.machines.trainer, options.data, options.model, folder)
        view.subject(_spec(options, prepared), options.space, prepared.notes)
        view.preparing("starting Ray")
        with connected_machines(options.machines, signals) as slots:
            note_mps(slots, options.machines, view.note)
            slots = measured_slots(options, prepared, slots, folder, signals, view.note)
            view.preparing("timing the first epoch of the default configuration")
            epoch = timed_epoch(options, prepared, slots, folder, signals)
            estimate = estimate_cost(options.space, slots=slots.number)
            view.cost_estimate(estimate_lines(options, estimate, prepared.checkpoint_bytes, slots, epoch))


def promote(
    url: str,
    name: str,
    paths: StudyPaths,
    epochs: int | None,
    machines: Machines,
    view: View,
    end: RunEnd,
    *,
    deterministic: bool | None = None,
    data: str | None = None,
    model: str | None = None,
    trackers: tuple[str, ...] = (),
) -> None:
    """Train the winner of a finished search in full, or resume that run.

    Args:
        url: Database URL of the study.
        name: Name of the study.
        paths: Paths of the study.
        epochs: Length of the final run; None for that of the study. A given length is trained even if nothing was
            learnt, because too few epochs may be the reason.
        machines: Machines that train.
        view: View that shows the progress.
        end: Learns about the study, for the hooks.
        deterministic: Value of `deterministic`; None for that of the run to resume, or else that of the study.
        data: New location of the data set; None if it has not moved.
        model: New location of the model; None if it has not moved.
        trackers: Trackers that log the study.

    Raises:
        TunerError: see `tuner.exceptions`.
        Interrupted: a signal arrived; the run can be resumed.
    """
    paths.create()
    require_store(machines.artifacts)
    with (
        trapped_signals() as signals,
        scratch_folder(),
        held_study(url, name, paths, view.note) as lease,
        tracked(trackers, paths, view.note) as tracking,
        driven_study(lease, None, paths.journal, view.note) as study,
    ):
        end.reads(study)
        winner = choose_winner(study)
        if epochs is None:  # a user who gives a length knows the reason, or wants to test it
            require_something_learnt(study, paths)
        places = prepared_again(name, study.spec, paths, machines.trainer, data=data, model=model)
        study.renew_places(places.spec)
        stored = stored_runs(study, machines, paths, view.note)
        tracking.follow(study)
        length = epochs or study.spec.promote_epochs
        view.preparing("starting Ray")
        with watched_machines(machines, study, signals, end) as slots:
            note_gpus(slots, machines, view.note)
            session = Session(
                study=study,
                paths=paths,
                machines=machines,
                slots=slots,
                view=view,
                signals=signals,
                health=SlotHealth(slots.places),
                allotment=devices_of(machines, slots),
                image_cache_bytes=cache_bound(
                    machines.image_cache_bytes,
                    places.prepared.image_cache,
                    [sizes_of(winner.trial.params)[1]],
                    is_here=machines.address is None,
                    tell=view.note,
                ),
                stored=stored,
            )
            train_in_full(session, winner, length, deterministic)
        study.flush(_FLUSH_S)
        write_params(params_yaml(study, winner, length), paths.params)
        write_card(study, paths, machines.trainer, view.note)
        end.write_report()
        view.conclusion(study, winner, paths)


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
        promote_deterministic=settings.promote_deterministic,
        seed=settings.seed,
        versions=prepared.versions,
        warm_start=tuple(start.configuration for start in options.warm_start),
        start_points={
            start.candidate.origin: start.configuration for start in start_points(options.space, options.warm_start)
        },
        model_sha256=prepared.model_sha256,
        sources=prepared.sources,
    )


def _refuse_changes(study: StudySession, options: RunOptions, prepared: PreparedRecord) -> None:
    """Refuse a space, model or data set that differs from the study's, because trials would not be comparable."""
    changes = [
        *options.space.differences(study.spec.space),
        *content_changes(study.spec, prepared, data=options.data, model=options.model),
    ]
    if changes:
        raise SpaceError(
            f"The study '{study.name}' was created with different settings: {'; '.join(changes)}. "
            "Undo the change, or start a new study with --study NAME."
        )


def _search(session: Session, options: RunOptions, forecast: Forecast) -> None:
    from tuner.execution.ray_search import train_on_ray

    study, slots, view = session.study, session.slots, session.view
    search = Search(study, options.space, session.paths, _trial_terms(session, options), view.note, options.bounds)
    if not search.finished:
        with (
            session.signals.ending(search.stop),
            view.watching(search, slots, forecast),
            search_in(session.stored, search, session.paths) as workload,
        ):
            train_on_ray(workload, slots, _terms(session, "search"), at_start=session.signals.arm)
    elif session.stored is not None:
        with search_in(session.stored, search, session.paths):
            pass  # fetches and removes what the last driver could not, if the store did not answer
    if search.stop_reason is not None and best_trial(study.trials()) is None:
        left = waiting(study.trials())
        raise NoSuccessfulTrialError(
            f"The search ended before any trial was trained to the end: {search.stop_reason}{left and '; ' + left}. "
            "Run the same command with a larger number to continue."
        )


def _reevaluate(session: Session, options: RunOptions, forecast: Forecast) -> None:
    """Compare the best with the default configuration before the final run."""
    from tuner.execution.ray_search import train_on_ray

    study, slots, view = session.study, session.slots, session.view
    plan = plan_for(study, options.space.settings.reevaluation_runs)
    if plan is None:
        return
    each = _trial_terms(session, options)
    reevaluation = Reevaluation(study, plan, session.paths, each, slots=slots.number, on_event=view.note)
    if not reevaluation.finished:
        with (
            session.signals.ending(reevaluation.stop),
            view.watching_reevaluation(reevaluation, forecast),
            reevaluation_in(session.stored, reevaluation, session.paths) as workload,
        ):
            train_on_ray(workload, slots, _terms(session, "re-evaluation"), at_start=session.signals.arm)


def _terms(session: Session, phase: str) -> "Terms":
    from tuner.execution.ray_search import Terms

    checkpoint_bytes = session.study.spec.checkpoint_bytes
    return Terms(
        command=session.machines.trainer,
        hang_timeouts=session.machines.hang_timeouts,
        folder=session.paths.root,
        reserve_bytes=reserve_bytes(checkpoint_bytes=checkpoint_bytes, slots=session.slots.number),
        timeline=Timeline(session.paths.timeline),
        phase=phase,
        health=session.health,
        allotment=session.allotment,
        parallel=session.machines.parallel,
        on_event=session.view.note,
    )


def _trial_terms(session: Session, options: RunOptions) -> TrialTerms:
    kinds = session.slots.gpu_kinds
    return TrialTerms(
        threads=session.slots.threads,
        gpus_per_trial=session.slots.gpus_per_trial,
        gpu_share=session.slots.gpu_share,
        validate_every_epoch=options.validate_every_epoch,
        image_cache_bytes=session.image_cache_bytes,
        devices=frozenset(kind.name for kind in kinds) if len(kinds) > 1 else frozenset(),
    )
