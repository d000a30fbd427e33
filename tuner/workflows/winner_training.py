"""Train the winner of a search in full, on the devices that the run may use."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tuner.contract import EndRecord, Outcome, Record, TrainRequest
from tuner.exceptions import DataError, MachineError
from tuner.memory.limits import sizes_of
from tuner.study import INTERRUPTED, Timeline
from tuner.training.export import mode_of_full_run
from tuner.training.final_run import FinalRun, Winner, full_run_request
from tuner.training.gpu_count import fewer_gpus_note, gpus_for
from tuner.trials.retry_policy import what_helps
from tuner.workflows.session import Session

_POLL_S = 0.2

_ATTEMPTS = 1000
"""More attempts than a run makes before it ends or gives its devices up."""


def train_in_full(session: Session, winner: Winner, epochs: int, deterministic: bool | None) -> None:
    """Train the winner in full, or resume that run.

    If a queue takes devices away, the run stops, and resumes from its last checkpoint on those that are left.

    Args:
        session: Study in training.
        winner: Configuration to train.
        epochs: Length of the run.
        deterministic: Value of `deterministic`; None for that of the run to resume, or else that of the study.

    Raises:
        DataError: A file of the data set cannot be trained on.
        MachineError: The run failed.
        Interrupted: A signal arrived; the run can be resumed.
    """
    from tuner.execution.remote_trainer import cpus_of_largest_node

    study, slots = session.study, session.slots
    batches = (sizes_of(winner.trial.params)[0],)
    available = _gpus_of_one_run(session)
    gpus = gpus_for(batches, available)
    if gpus < available:
        session.view.note(fewer_gpus_note(batches, gpus, available))
    if deterministic is None:  # the user did not say, so a run that was started keeps its mode
        deterministic = mode_of_full_run(study, winner)
    request = full_run_request(
        study,
        session.paths,
        winner,
        epochs=epochs,
        gpus=gpus,
        threads=min(slots.number * slots.threads, max(int(cpus_of_largest_node(gpus=gpus)), slots.threads)),
        deterministic=deterministic,
        image_cache_bytes=session.image_cache_bytes,
    )
    if session.stored is not None:
        request = session.stored.request(request, data=study.spec.data, model=study.spec.model)
    final_run = FinalRun(study, request, deterministic=deterministic)
    span = Timeline(session.paths.timeline).begin("final run", request.trial, request.seed, slot=0)

    def listen(record: Record) -> None:
        span.note(record)
        final_run.report(record)

    # `should_stop` handles signals.
    with session.signals.deferred(), session.view.watching_final_run(final_run):
        end = _trained(session, request, partial(gpus_for, batches), listen, final_run.use_gpus)
        if session.stored is not None:
            is_complete = end.outcome == Outcome.COMPLETED
            fetch = session.stored.fetch_result if is_complete else session.stored.fetch_logs
            fetch(Path(request.directory))
        span.note(end)
        span.end(INTERRUPTED)
        final_run.end(end)
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(f"The final run failed on data that cannot be trained on: {end.message}")
    if end.outcome != Outcome.COMPLETED:
        raise MachineError(
            f"The final run ended as {end.outcome.value}: {end.message}. "
            f"Log: {end.log or request.directory}. {what_helps(end, f'`tune promote {study.name}`')}"
        )


def _gpus_of_one_run(session: Session) -> int:
    """Return the number of whole GPUs of one machine that the run may use alone; 0 for the CPU."""
    from tuner.execution.remote_trainer import gpus_of_largest_node
    from tuner.execution.visible_gpus import are_parts

    available = min(session.slots.gpus, gpus_of_largest_node())
    if session.machines.address is None and are_parts(os.environ):
        return min(available, 1)
    return available


def _trained(
    session: Session,
    request: TrainRequest,
    number_for: Callable[[int], int],
    listen: Callable[[Record], None],
    on_gpus: Callable[[int], None],
) -> EndRecord:
    """Train a request to its end, with pauses while its devices are needed elsewhere."""
    allotment, signals = session.allotment, session.signals
    most = _gpus_of_one_run(session) or session.slots.number

    def devices() -> int:
        return max(1, min(allotment.devices(), most))

    allotment.want(len(request.devices) or most)
    while True:
        while allotment.devices() == 0 and signals.received is None:
            time.sleep(_POLL_S)
        used = number_for(devices()) if request.devices else devices()

        def should_stop(used: int = used) -> bool:
            return signals.received is not None or allotment.devices() < used

        end = _attempted(session, request, devices, number_for, listen, on_gpus, should_stop)
        if end.outcome != Outcome.STOPPED or signals.received is not None:
            return end
        session.view.note("the final run gives up devices that are needed elsewhere; it resumes from its checkpoint")
        request = replace(request, attempt=request.attempt + _ATTEMPTS)


def _attempted(
    session: Session,
    request: TrainRequest,
    devices: Callable[[], int],
    number_for: Callable[[int], int],
    listen: Callable[[Record], None],
    on_gpus: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> EndRecord:
    from tuner.execution.remote_trainer import GpuTerms, cpus_of_largest_node, train_on_working_gpus, train_remotely

    num_slots = min(session.slots.number, devices() * session.slots.trials_per_gpu)
    train = train_remotely
    if request.devices:
        terms = GpuTerms(
            most=devices,
            number_for=number_for,
            health=session.health,
            on_gpus=on_gpus,
            on_event=session.view.note,
        )
        train = partial(train_on_working_gpus, terms=terms)
    return train(
        request,
        session.machines.trainer,
        hang_timeouts=session.machines.hang_timeouts,
        cpus=min(num_slots * session.slots.cpus, cpus_of_largest_node(gpus=len(request.devices))),
        on_record=listen,
        should_stop=should_stop,
    )
