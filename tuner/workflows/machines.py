"""Hold a study, and the machines that train it, while a command runs."""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.contract import PreparedRecord
from tuner.exceptions import MachineError
from tuner.memory.image_cache import cache_bound, copies_note, room_for
from tuner.memory.limits import BATCH, IMGSZ, image_sizes_of, sizes_in
from tuner.memory.shared_memory import SHARED_MEMORY, fitting_loaders
from tuner.storage.lease import Lease, folder_lock, study_lease
from tuner.study import StudyPaths, StudySession
from tuner.system.disk_space import require, reserve_bytes
from tuner.system.driver_log import driver_log
from tuner.system.scratch import remove, scratch_folder
from tuner.system.signals import Signals
from tuner.workflows.hooks import RunEnd
from tuner.workflows.options import Machines, RunOptions

if TYPE_CHECKING:
    from tuner.execution.allotment import Allotment
    from tuner.execution.cluster import Slots

logger = logging.getLogger("tuner")

_LAST_FLUSH_S = 5.0
"""Seconds that a run which must end now waits for an unavailable database."""

_SIGNAL_S = 2.0
"""Seconds that a signal may take to reach a main thread that waits for Ray."""


@contextlib.contextmanager
def held_study(url: str, name: str, paths: StudyPaths, on_event: Callable[[str], None]) -> Iterator[Lease]:
    """Lock a study against other drivers, both its folder and its record, and log events in its folder."""
    require(paths.root, reserve_bytes(checkpoint_bytes=0, slots=0), "A study")
    with folder_lock(paths.lock), study_lease(url, name, on_event) as lease, driver_log(paths.driver_log):
        yield lease


def load_ray(signals: Signals) -> None:
    """Import Ray, while a trainer imports torch to check the model: each takes a second or more.

    Raises:
        Interrupted: a signal arrived, now or earlier.
    """
    with signals.deferred():  # Ray's extensions swallow exceptions while they are imported
        from tuner.execution import ray_node

        ray_node.load()


@contextlib.contextmanager
def connected_machines(machines: Machines, signals: Signals) -> Iterator["Slots"]:
    """Start Ray, or join its cluster."""
    load_ray(signals)  # it takes seconds, so first check all else
    from tuner.execution.cluster import connected

    with connected(
        gpus=machines.gpus,
        parallel=machines.parallel,
        address=machines.address,
        trials_per_gpu=machines.trials_per_gpu,
        uninterrupted=signals.held_back,
    ) as slots:
        signals.arm()
        signals.check()  # Ray may have swallowed the exception
        yield slots


@contextlib.contextmanager
def watched_machines(machines: Machines, study: StudySession, signals: Signals, end: RunEnd) -> Iterator["Slots"]:
    """Connect to the machines, and end the process cleanly if Ray stops answering."""
    load_ray(signals)
    from tuner.execution.ray_health import watched

    def leave(what: str) -> None:
        """Write the states and end the process from this thread: the main thread will hang in Ray."""
        asked = signals.awaited(_SIGNAL_S)  # a signal to every process, as systemd sends it, also ends Ray
        with contextlib.suppress(Exception):
            study.leave(_LAST_FLUSH_S)
        remove(scratch)
        told = asked or f"{what}; nothing is lost; run the same command again to resume"
        logger.error("driver ended at once: %s", told)
        code = asked.exit_code if asked else MachineError.exit_code
        end.report(code, str(told))  # the locks are still held: only the end of this process releases them
        sys.stderr.write(f"{told}\n")  # last, as the reason of any other end
        sys.stderr.flush()
        os._exit(code)

    try:
        with (
            scratch_folder() as scratch,
            connected_machines(machines, signals) as slots,
            watched(leave, is_ending=lambda: signals.awaited() is not None),
        ):
            yield slots
    finally:
        signals.arm()


def devices_of(machines: Machines, slots: "Slots") -> "Allotment":
    """Return the devices that a run may use, also later: on a cluster, GPUs that join are included."""
    from tuner.execution.allotment import allotment

    follows_cluster = machines.address is not None and machines.gpus is None and slots.gpus_per_trial > 0
    return allotment(os.environ, devices=max(slots.places, slots.gpus), follows_cluster=follows_cluster)


def looked_over(
    slots: "Slots", options: RunOptions, prepared: PreparedRecord, on_event: Callable[[str], None]
) -> "Slots":
    """Look at what a search finds: report GPUs that are busy or differ, and fit data loaders into shared memory.

    Args:
        slots: Slots of the search.
        options: Options of the run.
        prepared: Data set and model.
        on_event: Called with a line for each thing that is not as it should be.

    Returns:
        The slots, with fewer data loaders if shared memory has no room for more. On a CPU, trials have none.

    Raises:
        MachineError: There is no room for one loader of each trial.
    """
    note_gpus(slots, options.machines, on_event)
    return with_fitting_loaders(slots, options, prepared, on_event)


def with_fitting_loaders(
    slots: "Slots", options: RunOptions, prepared: PreparedRecord, on_event: Callable[[str], None]
) -> "Slots":
    """Fit the data loaders of all slots into shared memory. See `looked_over`."""
    if not slots.gpus_per_trial or options.machines.address is not None or not SHARED_MEMORY.is_dir():
        return slots
    fitting = fitting_loaders(
        slots.threads,
        trials=slots.number,
        batch=sizes_in(options.space, BATCH)[-1],
        imgsz=sizes_in(options.space, IMGSZ)[-1],
        num_images=prepared.num_images["train"],
        free_bytes=shutil.disk_usage(SHARED_MEMORY).free,
    )
    if fitting < slots.threads:
        on_event(
            f"each trial loads data with {fitting} instead of {slots.threads} processes, for which shared memory "
            f"({SHARED_MEMORY}) has room; a larger one may train faster (`docker run --shm-size=16g`, or `--ipc=host`)"
        )
    return replace(slots, threads=fitting)


def shared_images(
    slots: "Slots",
    options: RunOptions,
    prepared: PreparedRecord,
    *,
    reserved_bytes: int,
    on_event: Callable[[str], None],
) -> int:
    """Choose how many decoded images the trials of a search share, and warn of too many copies in memory.

    Args:
        slots: Slots of the search.
        options: Options of the run.
        prepared: Data set and model.
        reserved_bytes: Disk space that the study needs.
        on_event: Called with each line for the user.

    Returns:
        The maximum size of the shared images in bytes; 0 to share none.
    """
    cache, sizes = prepared.image_cache, image_sizes_of(options.space)
    is_here = options.machines.address is None
    if cache is not None and is_here:
        value = options.space.resolve(options.space.baseline_sampled()).get("cache", False)
        if note := copies_note(cache, sizes, value, trials=slots.number, room=room_for(cache)):
            on_event(note)
    return cache_bound(
        options.machines.image_cache_bytes,
        cache,
        sizes,
        is_here=is_here,
        reserved_bytes=reserved_bytes,
        tell=on_event,
    )


def note_gpus(slots: "Slots", machines: Machines, on_event: Callable[[str], None]) -> None:
    """Report GPUs of several kinds, and busy GPUs of this machine; a cluster is not asked whether its GPUs are busy."""
    from tuner.execution.gpu_kinds import kinds_note
    from tuner.execution.visible_gpus import busy_notes

    if note := kinds_note(slots.gpu_kinds, is_cluster=machines.address is not None):
        on_event(note)
    if slots.gpus_per_trial and machines.address is None:
        for line in busy_notes(os.environ):
            on_event(line)
