"""Estimate what a run will cost: epochs, time and disk space."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tuner.contract import PreparedRecord
from tuner.cost.actual import noted
from tuner.cost.epoch_times import TimedEpoch
from tuner.cost.estimate import CostEstimate, estimate_cost
from tuner.cost.forecast import Forecast
from tuner.report.cost import Terms, cost_lines
from tuner.study import StudySession
from tuner.system.disk_space import needed_bytes, require
from tuner.workflows.options import RunOptions
from tuner.workflows.profiling import known_epoch

if TYPE_CHECKING:
    from tuner.execution.cluster import Slots


def estimate_run(
    options: RunOptions,
    prepared: PreparedRecord,
    study: StudySession,
    slots: "Slots",
    show: Callable[[Sequence[str]], None],
) -> Forecast:
    """Estimate the cost of a run. If its search has not started yet, store the estimate in the study and show it."""
    settings = options.space.settings
    estimate = estimate_cost(options.space, slots=slots.number)
    epoch = known_epoch(options, prepared, slots)
    if not study.trials():
        known = noted(estimate, trials=settings.trials, slots=slots.number)
        study.record_profiling(replace(study.profiling, estimate=known))
        show(estimate_lines(options, estimate, study.spec.checkpoint_bytes, slots, epoch))
    return Forecast(
        estimate=estimate,
        slots=slots.number,
        epochs=settings.epochs,
        promote_epochs=_final_epochs(options),
        epoch_s=None if epoch is None else epoch.seconds,
    )


def estimate_lines(
    options: RunOptions,
    estimate: CostEstimate,
    checkpoint_bytes: int,
    slots: "Slots",
    epoch: TimedEpoch | None,
) -> list[str]:
    """Put an estimate into words.

    Args:
        options: Options of the run.
        estimate: Cost estimate, in epochs.
        checkpoint_bytes: Maximum size of a trial's checkpoint on disk.
        slots: Slots that train at the same time.
        epoch: Time of an epoch; None if no epoch has been timed.
    """
    terms = Terms(
        slots=slots.number,
        gpus_per_trial=slots.gpus_per_trial,
        epochs=options.space.settings.epochs,
        promote_epochs=_final_epochs(options),
        epoch_s=None if epoch is None else epoch.seconds,
        source="" if epoch is None else epoch.source(time.time()),
        disk_bytes=_needed_bytes(options, checkpoint_bytes, slots, done=0),
        gpu_share=slots.gpu_share,
    )
    return cost_lines(estimate, terms)


def require_room(options: RunOptions, study: StudySession, slots: "Slots") -> int:
    """Refuse a search that the disk has no room for; return the bytes that it needs.

    Raises:
        MachineError: too little disk space is free.
    """
    done = sum(trial.state.is_finished() for trial in study.trials())
    needed = _needed_bytes(options, study.spec.checkpoint_bytes, slots, done=done)
    require(options.paths.root, needed, "The search")
    return needed


def _needed_bytes(options: RunOptions, checkpoint_bytes: int, slots: "Slots", *, done: int) -> int:
    settings = options.space.settings
    return needed_bytes(
        checkpoint_bytes=checkpoint_bytes,
        slots=slots.number,
        trials=max(settings.trials - done, 0),
        reduction_factor=settings.reduction_factor if settings.rung_epochs else 1,
        promote_epochs=_final_epochs(options),
        pausing_rungs=0 if settings.strategy == "asha-stopping" else len(settings.rung_epochs),
    )


def _final_epochs(options: RunOptions) -> int:
    """Return the length of the final run; 0 for none."""
    return options.space.settings.promote_epochs if options.promote else 0
