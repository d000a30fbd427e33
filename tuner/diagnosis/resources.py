"""Rules for problems with time and memory, independent of learning: one for each condition."""

from collections.abc import Callable
from statistics import median

from tuner.contract import Outcome
from tuner.diagnosis import remedies
from tuner.diagnosis.curves import epoch_seconds
from tuner.diagnosis.findings import Condition, Finding
from tuner.diagnosis.runs import Run

VERY_SLOW_S = 7200.0
"""Seconds for one epoch that the guide calls very slow [29]."""
STALLED, STALLED_EPOCHS = 3.0, 3
"""Multiple of the run's median epoch time, and the minimum number of epochs that exceed it."""


def out_of_memory(run: Run) -> Finding | None:
    """Detect a run that ended because memory ran out [guide 25]."""
    if run.outcome is not Outcome.OUT_OF_MEMORY:
        return None
    return Finding(
        condition=Condition.OUT_OF_MEMORY,
        epochs=(run.last_epoch, run.last_epoch),
        evidence=f"the trainer stopped: {run.message or 'memory ran out'}",
        advice="use a smaller batch, then smaller images; fewer workers and cache=False save main memory",
        changes=remedies.less_memory(run),
    )


def slow(run: Run) -> Finding | None:
    """Detect epochs that take hours, or several that take far longer than the others [29]."""
    times = _times(run)
    usual = median(times.values()) if times else 0.0
    stalled = [epoch for epoch, seconds in times.items() if seconds > STALLED * usual]
    if usual < VERY_SLOW_S and len(stalled) < STALLED_EPOCHS:
        return None
    return _very_slow(run, times, usual) if usual >= VERY_SLOW_S else _stalled(times, stalled, usual)


def _very_slow(run: Run, times: dict[int, float], usual: float) -> Finding:
    return Finding(
        condition=Condition.SLOW,
        epochs=(min(times), max(times)),
        evidence=f"an epoch takes {usual / 3600:.1f} h; the records do not show how much of it is data loading",
        advice="load images faster if the GPU waits for them; smaller images or more GPUs help in any case",
        changes=remedies.faster_loading(run),
    )


def _stalled(times: dict[int, float], stalled: list[int], usual: float) -> Finding:
    return Finding(
        condition=Condition.SLOW,
        epochs=(stalled[0], stalled[-1]),
        evidence=f"{len(stalled)} of {len(times)} epochs took more than {STALLED:g} times the median of {usual:.3g} s, "
        f"up to {max(times.values()):.3g} s",
        advice="look for the cause of the delay: another program on the machine, a network disk, or swapping",
    )


def _times(run: Run) -> dict[int, float]:
    """Return seconds by epoch, without the first (it fills caches), of validated or other epochs: the larger group."""
    times, validated = dict(epoch_seconds(run)), {e.epoch for e in run.epochs if e.metrics is not None}
    later = times.keys() - {e.epoch for e in run.epochs[:1]}
    similar = max(later & validated, later - validated, key=len)
    return {epoch: times[epoch] for epoch in sorted(similar)}


RESOURCES: tuple[Callable[[Run], Finding | None], ...] = (out_of_memory, slow)
