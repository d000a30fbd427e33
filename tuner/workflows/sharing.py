"""Choose the number of trials per GPU by measurements before a search."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.contract import EndRecord, PreparedRecord, Record, TrainRequest
from tuner.exceptions import MachineError
from tuner.memory.limits import BATCH, IMGSZ, sizes_in, sizes_of
from tuner.memory.sharing import MOST, Sharing, chosen_sharing
from tuner.study import MemoryFacts, SharingFacts, StudySession
from tuner.system.signals import Signals
from tuner.trials.requests import Inputs
from tuner.workflows.machines import with_fitting_loaders
from tuner.workflows.options import Machines, RunOptions
from tuner.workflows.profiling import first_epoch, in_a_slot

if TYPE_CHECKING:
    from tuner.execution.cluster import Slots


def note_mps(slots: "Slots", machines: Machines, on_event: Callable[[str], None]) -> None:
    """Report whether CUDA's multi-process service runs, if trials share GPUs of this machine."""
    from tuner.execution.mps import mps_note

    shares = machines.trials_per_gpu is None or slots.trials_per_gpu > 1
    if shares and slots.gpus_per_trial and machines.address is None:
        line = mps_note(os.environ)
        if line is not None:
            on_event(line)


def shared_slots(
    options: RunOptions,
    prepared: PreparedRecord,
    study: StudySession,
    slots: "Slots",
    signals: Signals,
    on_event: Callable[[str], None],
) -> "Slots":
    """Return the slots of a search; with `--trials-per-gpu auto`, as many per GPU as pay.

    What is measured is kept in the study, so a search that resumes does not measure it again.

    Raises:
        MachineError: The trainer does not work.
    """
    if options.machines.trials_per_gpu is not None:
        return slots
    known = study.profiling.sharing
    if known is None:
        found, device = _measured(options, prepared, slots, options.paths.root, signals, on_event)
        known = SharingFacts(trials_per_gpu=found.trials_per_gpu)
        memory = study.profiling.memory
        if found.trials_per_gpu > 1 and not study.trials():  # the largest sizes fit, so nothing is left to measure
            memory = MemoryFacts(device=device, too_large=(), gpu_share=1 / found.trials_per_gpu)
        study.record_profiling(replace(study.profiling, sharing=known, memory=memory))
    else:
        on_event(f"share  {_trials(known.trials_per_gpu)} per GPU, as measured before")
    return slots if known.trials_per_gpu == 1 else _divided(options, prepared, slots, known.trials_per_gpu, on_event)


def measured_slots(
    options: RunOptions,
    prepared: PreparedRecord,
    slots: "Slots",
    folder: Path,
    signals: Signals,
    on_event: Callable[[str], None],
) -> "Slots":
    """Return the slots that a search of these options would have, for a cost estimate without a study."""
    if options.machines.trials_per_gpu is not None:
        return slots
    found, _ = _measured(options, prepared, slots, folder, signals, on_event)
    return slots if found.trials_per_gpu == 1 else _divided(options, prepared, slots, found.trials_per_gpu, on_event)


def _divided(
    options: RunOptions,
    prepared: PreparedRecord,
    slots: "Slots",
    trials_per_gpu: int,
    on_event: Callable[[str], None],
) -> "Slots":
    return with_fitting_loaders(_slots(options.machines, slots, trials_per_gpu), options, prepared, on_event)


def _slots(machines: Machines, slots: "Slots", trials_per_gpu: int) -> "Slots":
    from tuner.execution.cluster import divided

    now = divided(
        gpus=machines.gpus,
        parallel=machines.parallel,
        trials_per_gpu=trials_per_gpu,
        is_cluster=machines.address is not None,
    )
    return replace(now, gpu_kinds=slots.gpu_kinds)


def _measured(
    options: RunOptions,
    prepared: PreparedRecord,
    slots: "Slots",
    folder: Path,
    signals: Signals,
    on_event: Callable[[str], None],
) -> tuple[Sharing, str]:
    """Measure how many trials pay on one GPU; return it with the name of the device that limits the memory."""
    from tuner.execution.gpu_kinds import common_room_gib, smallest_gpu
    from tuner.execution.memory_probe import peak_of
    from tuner.execution.train_together import images_per_s_together

    request = first_epoch(options, Inputs.prepared(prepared), slots, folder)
    largest = {name: sizes_in(options.space, name)[-1] for name in (BATCH, IMGSZ)}
    smallest = smallest_gpu(slots.gpu_kinds)
    device = ""

    def train(steps: TrainRequest, on_record: Callable[[Record], None]) -> EndRecord:
        return in_a_slot(steps, options, slots, signals, on_record)

    def fits(number: int) -> bool:
        nonlocal device
        try:
            _divided(options, prepared, slots, number, lambda line: None)
        except MachineError as error:  # shared memory has no room for the data loaders
            on_event(f"share  {error}")
            return False
        peak = peak_of(train, replace(request, gpu_share=1 / number), folder=folder, **largest)
        device = peak.device if smallest is None else smallest.name
        does_fit = peak.fits_into(common_room_gib(slots.gpu_kinds, 1 / number))
        taken = f"takes {peak.memory_gib:.1f} GiB of" if does_fit else "does not fit into"
        gpu = "the GPU" if smallest is None else smallest.name
        on_event(f"memory batch {largest[BATCH]} at imgsz {largest[IMGSZ]} {taken} 1/{number} of {gpu}")
        return does_fit

    def images_per_s(number: int) -> float | None:
        sized = _divided(options, prepared, slots, number, lambda line: None)
        with tempfile.TemporaryDirectory(prefix="tune-share-", dir=folder) as scratch, signals.deferred():
            rate = images_per_s_together(
                replace(request, threads=sized.threads),
                number,
                options.machines.trainer,
                batch=sizes_of(request.params)[0],
                num_images=prepared.num_images["train"],
                hang_timeouts=options.machines.hang_timeouts,
                cpus=number * sized.cpus,
                folder=Path(scratch),
                should_stop=lambda: signals.received is not None,
            )
        told = "cannot train together" if rate is None else f"{rate:.1f} images/s"
        on_event(f"share  {_trials(number)} on a GPU: {told}")
        return rate

    wanted = _slots(options.machines, slots, MOST).trials_per_gpu  # fewer if --parallel limits the trials
    found = chosen_sharing(fits, images_per_s, wanted=wanted)
    on_event(f"share  {_trials(found.trials_per_gpu)} per GPU, because {found.why}")
    return found, device


def _trials(number: int) -> str:
    return f"{number} trial{'s' if number > 1 else ''}"
