"""Summarise the progress of a study from its record."""

import math
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState

from tuner.report.studies import StudySummary, summary_of
from tuner.study import ReadableStudy, TrialRecord, best_trial
from tuner.system.printable import printable


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningTrial:
    """Trial in training."""

    trial: int
    epoch: int
    """Last epoch that is recorded; 0 before there is one."""
    value: float | None
    """Metric at the last validated epoch; None before it, or if it is not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Progress of a study at one moment."""

    state: str
    """State as `tune status` lists it: running, waiting, finished, empty or unreadable."""
    metric: str = ""
    best: float | None = None
    best_trial: int | None = None
    gain: float | None = None
    verdict: str | None = None
    ended: int = 0
    """Number of trials that have ended."""
    planned: int = 0
    """Number of trials of the whole search, as far as it is known."""
    epochs: int = 0
    """Number of trained epochs of all trials."""
    running: tuple[RunningTrial, ...] = ()
    gpu_hours: float = 0.0
    problem: str = ""
    """Reason why the study cannot be read."""


def progress_of(study: ReadableStudy, *, is_driven: bool, journal: Path) -> Progress:
    """Return the progress of a study.

    Raises:
        StorageError: The database cannot be used.
    """
    summary, trials = summary_of(study, is_driven=is_driven, journal=journal), study.trials()
    best, estimate = best_trial(trials), study.profiling.estimate
    running = [trial for trial in trials if trial.state == TrialState.RUNNING] if is_driven else []
    return Progress(
        state=summary.state,
        metric=summary.metric,
        best=None if best is None else best.value,
        best_trial=None if best is None else best.number,
        gain=summary.gain,
        verdict=summary.verdict,
        ended=summary.ended,
        planned=max(len(trials), 0 if estimate is None else estimate.trials),
        epochs=sum(map(_epochs, trials)),
        running=tuple(_running(trial) for trial in running),
        gpu_hours=summary.gpu_hours,
    )


def unreadable(problem: str) -> Progress:
    """Return the progress of a study that cannot be read."""
    return Progress(state=StudySummary(name="", state="unreadable").state, problem=printable(problem))


def _epochs(trial: TrialRecord) -> int:
    return max(trial.facts.epochs or 0, max(trial.curve, default=0))


def _running(trial: TrialRecord) -> RunningTrial:
    value = trial.curve[max(trial.curve)] if trial.curve else math.nan
    return RunningTrial(
        trial=trial.number,
        epoch=_epochs(trial),
        value=value if math.isfinite(value) else None,  # JSON has no NaN
    )
