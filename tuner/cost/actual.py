"""Compare the cost estimate of a search with its actual cost."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from tuner.cost.estimate import CostEstimate, Range
from tuner.diagnosis import epoch_seconds, read_run
from tuner.exceptions import TunerError
from tuner.study import EstimateFacts, ReadableStudy, TrialRecord


def noted(estimate: CostEstimate, *, trials: int, slots: int) -> EstimateFacts:
    """Return the parts of a cost estimate that a study keeps for comparison; the unit of time is one epoch."""
    trained, wall = ((ends.low, ends.high) for ends in (estimate.trained, estimate.wall))
    return EstimateFacts(trials=trials, slots=slots, trained=trained, wall=wall)


def search_times(study: ReadableStudy) -> list[str]:
    """Return one line about the search, or no line if its times are unknown.

    The line leaves out the cost estimate if the study has another number of trials, because it ended early or was
    extended.
    """
    epochs, seconds = _trained(study.trials())
    if not epochs or not study.searched_s:
        return []
    pace = seconds / epochs
    took = f"search: {epochs:,} epochs of {pace:.1f} s in {_duration(study.searched_s)}"
    estimate = study.profiling.estimate
    if estimate is None or estimate.trials != len(study.trials()):
        return [took]
    trained, wall = Range(*estimate.trained), Range(*estimate.wall).times(pace)
    return [
        f"{took}; estimated {trained.shown()} epochs, at this pace {_duration(wall.low)} to {_duration(wall.high)} "
        f"with {estimate.slots} slot(s)"
    ]


def full_run_times(study: ReadableStudy) -> list[str]:
    """Return one line about the final run and the pace of its trial, or no line if its times are unknown."""
    final_run = study.final_run
    times = [] if final_run is None else _epoch_times(Path(final_run.directory))
    if final_run is None or not times:
        return []
    trial = study.trials()[final_run.trial]
    epoch_s = epoch_time_s([trial])
    most = "at most " if trial.facts.gpu_share is not None else ""  # on a share of a GPU, its trial was slower
    expected = f"; expected {most}{_duration(len(times) * epoch_s)} at the pace of its trial" if epoch_s else ""
    where = f" on {final_run.gpus} GPUs" if final_run.gpus > 1 else ""
    return [f"final run: {len(times):,} epochs in {_duration(sum(times))}{where}{expected}"]


def epoch_time_s(trials: Sequence[TrialRecord]) -> float | None:
    """Return the mean training time of an epoch of these trials in seconds; None if it is unknown."""
    epochs, seconds = _trained(trials)
    return seconds / epochs if epochs and seconds else None


def _trained(trials: Sequence[TrialRecord]) -> tuple[int, float]:
    """Sum the training epochs and seconds of these trials; skip values from trainers that are not numbers."""
    told = [(trial.facts.epochs, trial.facts.seconds) for trial in trials]
    known = [(epochs, seconds) for epochs, seconds in told if epochs is not None and seconds is not None]
    return sum(e for e, _ in known), float(sum(s for _, s in known))


def _epoch_times(folder: Path) -> list[float]:
    """Return the known epoch times of the run in a folder, in seconds."""
    try:
        return [seconds for _, seconds in epoch_seconds(read_run(folder))]
    except TunerError:
        return []


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
