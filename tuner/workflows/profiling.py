"""Profile a run before its search begins: the time of an epoch, and the sizes that fit into memory."""

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.contract import EndRecord, EpochRecord, Outcome, PreparedRecord, Record, TrainRequest
from tuner.cost.epoch_times import TimedEpoch, keep, kept, timed_now
from tuner.exceptions import DataError, FailurePolicyError, MachineError, SpaceError
from tuner.memory.limits import (
    BATCH,
    NOTHING_FITS,
    MemoryLimits,
    holds_for,
    measured_limits,
    sizes_in,
    sizes_of,
)
from tuner.study import MemoryFacts, StudySession, StudySpec
from tuner.system.signals import Signals
from tuner.trials.requests import Inputs, train_request
from tuner.workflows.options import RunOptions

if TYPE_CHECKING:
    from tuner.execution.cluster import Slots


def timed_epoch(
    options: RunOptions, prepared: PreparedRecord, slots: "Slots", folder: Path, signals: Signals
) -> TimedEpoch:
    """Time the first epoch of the default configuration, and keep the time for the run that follows.

    Raises:
        DataError: a file of the data set cannot be trained on.
        MachineError: the epoch did not complete.
    """
    request = first_epoch(options, Inputs(data=prepared.data, model=prepared.model), slots, folder)
    heard: list[Record] = []
    if slots.trials_per_gpu > 1:
        epochs, end = _neighbours(request, options, slots, signals)
        heard += epochs if len(epochs) == slots.trials_per_gpu else []
    else:
        end = in_a_slot(request, options, slots, signals, heard.append)
    times = [record.seconds for record in heard if isinstance(record, EpochRecord)]
    if end.outcome == Outcome.BAD_DATA:
        raise DataError(end.message)
    if not times:
        raise MachineError(f"Timing an epoch failed: {end.message or end.outcome.value}.")
    timed = timed_now(max(times))
    keep(_timed_by(options, prepared, slots), timed)
    return timed


def _neighbours(
    request: TrainRequest, options: RunOptions, slots: "Slots", signals: Signals
) -> tuple[list[EpochRecord], EndRecord]:
    """Train the request as often at once on one GPU as trials of the search will share it."""
    from tuner.execution.train_together import first_epochs_together

    requests = [
        replace(request, directory=f"{request.directory}-{number}") for number in range(1, slots.trials_per_gpu + 1)
    ]
    with signals.deferred():
        epochs, end = first_epochs_together(
            requests,
            options.machines.trainer,
            hang_timeouts=options.machines.hang_timeouts,
            cpus=slots.trials_per_gpu * slots.cpus,
            should_stop=lambda: signals.received is not None,
        )
    return epochs, end or EndRecord(outcome=Outcome.STOPPED)


def known_epoch(options: RunOptions, prepared: PreparedRecord, slots: "Slots") -> TimedEpoch | None:
    """Return the time that an earlier dry run measured for the same epoch on this machine; None without a dry run."""
    return kept(_timed_by(options, prepared, slots))


def _timed_by(options: RunOptions, prepared: PreparedRecord, slots: "Slots") -> list[object]:
    """List all that determines the first epoch's time: data, model, configuration, versions, machine, trainer."""
    space = options.space
    return [
        prepared.data_sha256,
        prepared.model,
        prepared.num_parameters,
        dict(space.resolve(space.baseline_sampled())),
        dict(prepared.versions),
        platform.node(),
        [slots.gpus_per_trial, slots.threads, options.machines.address],
        list(options.machines.trainer),
        *([slots.trials_per_gpu] if slots.trials_per_gpu > 1 else []),
    ]


def measure_memory(
    options: RunOptions, study: StudySession, slots: "Slots", signals: Signals, on_event: Callable[[str], None]
) -> None:
    """Exclude the sizes that do not fit into the GPUs' memory before the search starts.

    If the GPUs have different memory, the sizes must fit into that of the smallest one, wherever they are measured.
    Nothing is measured on the CPU, because running out of memory there would affect the whole machine.

    Args:
        options: Options of the run.
        study: Study that stores the measured sizes.
        slots: Slots of the run.
        signals: Signals that stop the measurement.
        on_event: Called with a line for each size that is measured, and one for the excluded sizes.

    Raises:
        FailurePolicyError: nothing in the space fits.
        SpaceError: the default configuration does not fit.
        MachineError: the trainer does not work.
    """
    if slots.gpus_per_trial and not study.trials() and not _is_measured(study.profiling.memory, slots):
        measured = _measured(options, study.spec, slots, signals, on_event)
        if MemoryLimits(too_large=measured.too_large).exclude_all_of(options.space):
            raise FailurePolicyError(
                f"The search cannot start: {NOTHING_FITS}. Choose smaller ones, or a smaller model."
            )
        study.record_profiling(replace(study.profiling, memory=measured))
    known = study.profiling.memory
    if known is None or not holds_for(known.gpu_share, slots.gpu_share):
        return
    if not study.trials():
        _require_baseline(options, known)
    if known.too_large:
        limits = MemoryLimits(too_large=known.too_large)
        on_event(f"memory {_named(known)} cannot hold {limits}; excluded, with all sizes at least as large in both")


def _is_measured(known: MemoryFacts | None, slots: "Slots") -> bool:
    """Check whether the limits of these slots are known: those of a larger share or GPU may leave out some."""
    from tuner.execution.gpu_kinds import smallest_gpu

    if known is None:
        return False
    smallest = smallest_gpu(slots.gpu_kinds)
    is_same_share = holds_for(known.gpu_share, slots.gpu_share) and holds_for(slots.gpu_share, known.gpu_share)
    return is_same_share and (smallest is None or smallest.name == known.device)


def _named(measured: MemoryFacts) -> str:
    """Name the device, or the share of it, that was measured."""
    device = measured.device or "this GPU"
    return device if measured.gpu_share == 1 else f"1/{round(1 / measured.gpu_share)} of {device}"


def _require_baseline(options: RunOptions, measured: MemoryFacts) -> None:
    """Refuse a default configuration that does not fit: there would be nothing to compare the best with."""
    limits = MemoryLimits(too_large=measured.too_large)
    params = options.space.resolve(options.space.baseline_sampled())
    if not limits.exclude(params):
        return
    batch, imgsz = sizes_of(params)
    fitting = [size for size in sizes_in(options.space, BATCH) if not limits.exclude({**params, BATCH: size})]
    smaller = f"set `baseline: {{batch: {fitting[-1]}}}` in the space" if fitting else "choose smaller images"
    fewer = "" if measured.gpu_share == 1 else ", or fewer --trials-per-gpu"
    raise SpaceError(
        f"The default configuration must fit into memory, but batch {batch} at imgsz {imgsz} does not on "
        f"{_named(measured)}; {smaller} or another model{fewer}, and start a new study with --study NAME."
    )


def _measured(
    options: RunOptions, spec: StudySpec, slots: "Slots", signals: Signals, on_event: Callable[[str], None]
) -> MemoryFacts:
    from tuner.execution.gpu_kinds import common_room_gib, smallest_gpu
    from tuner.execution.memory_probe import peak_of

    smallest, room_gib = smallest_gpu(slots.gpu_kinds), common_room_gib(slots.gpu_kinds, slots.gpu_share)
    inputs = Inputs(data=spec.data_source, model=spec.model_source)
    request = first_epoch(options, inputs, slots, options.paths.root)
    device = ""

    def train(steps: TrainRequest, on_record: Callable[[Record], None]) -> EndRecord:
        return in_a_slot(steps, options, slots, signals, on_record)

    def fits(batch: int, imgsz: int) -> bool:
        nonlocal device
        peak = peak_of(train, request, folder=options.paths.root, batch=batch, imgsz=imgsz)
        device = peak.device if smallest is None else smallest.name
        taken = "does not fit" if peak.memory_gib is None else f"takes {peak.memory_gib:.1f} GiB"
        if smallest is not None and peak.memory_gib is not None and not peak.fits_into(room_gib):
            taken += f", more than the {room_gib:.1f} GiB of {smallest.name}"
        on_event(f"memory batch {batch} at imgsz {imgsz} {taken}")
        return peak.fits_into(room_gib)

    limits = measured_limits(options.space, fits)
    return MemoryFacts(device=device, too_large=limits.too_large, gpu_share=slots.gpu_share)


def first_epoch(options: RunOptions, inputs: Inputs, slots: "Slots", folder: Path) -> TrainRequest:
    """Request the first epoch of the default configuration in a scratch folder, so that no checkpoint stays."""
    space = options.space
    if options.machines.artifacts:
        inputs = replace(inputs, data=options.data, model=options.model, shares_files=False)
    return train_request(
        inputs,
        space.resolve(space.baseline_sampled()),
        study=options.name,
        trial=0,
        epochs=space.settings.epochs,
        stop_epoch=1,
        validation_epochs=(1,),
        seed=space.settings.seed,
        gpus=slots.gpus_per_trial,
        threads=slots.threads,
        gpu_share=slots.gpu_share,
        directory=folder / "trial",
    )


def in_a_slot(
    request: TrainRequest, options: RunOptions, slots: "Slots", signals: Signals, on_record: Callable[[Record], None]
) -> EndRecord:
    from tuner.execution.remote_trainer import train_remotely

    with signals.deferred():  # `should_stop` handles it
        return train_remotely(
            request,
            options.machines.trainer,
            hang_timeouts=options.machines.hang_timeouts,
            cpus=slots.cpus,
            on_record=on_record,
            should_stop=lambda: signals.received is not None,
        )
