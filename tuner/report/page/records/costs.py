"""Compare the cost estimate of a study with what it has spent, by phase."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuner.comparison.record import reevaluated
from tuner.diagnosis import epoch_seconds, read_run
from tuner.exceptions import TunerError
from tuner.report.page.records.subject import cost_unit, training_seconds
from tuner.study import ReadableStudy, Span, TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseCost:
    """Cost of one phase."""

    phase: str
    epochs: int
    hours: float
    """GPU-hours of training: on several GPUs, times their number; on a share of a GPU, times this share."""
    expected_epochs: tuple[float, float] | None
    """Estimated number of epochs, or the limits of the plan; None if unknown."""
    occupied_hours: float | None
    """Time in which slots were occupied, with start-up and failed attempts; None without a timeline."""
    gpu_share: float = 1.0
    """Share of a GPU that its runs had, on average over their training time."""

    @property
    def epoch_s(self) -> float | None:
        """Time of an epoch in seconds, times the number of GPUs; None if none was trained."""
        return 3600 * self.hours / self.gpu_share / self.epochs if self.epochs else None

    @property
    def expected_hours(self) -> tuple[float, float] | None:
        """Expected training time at the measured pace of the phase; None if either is unknown."""
        if self.expected_epochs is None or not self.epochs:
            return None
        pace = self.hours / self.epochs
        return self.expected_epochs[0] * pace, self.expected_epochs[1] * pace


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Cost of a study."""

    unit: str
    phases: tuple[PhaseCost, ...]
    wall_hours: float
    """Wall time of the search over all drivers; 0 if unknown."""
    expected_wall_hours: tuple[float, float] | None
    """Estimated wall time of the search, at the pace of its epochs; None if unknown."""

    @property
    def hours(self) -> float:
        """Training time of all phases."""
        return sum(phase.hours for phase in self.phases)


def costs_of(study: ReadableStudy, spans: Sequence[Span] = ()) -> Costs | None:
    """Return the cost of a study that tune created; None before anything was trained."""
    trials = study.trials()
    phases = [_search(study, trials, spans), _reevaluation(study, spans), _final_run(study, spans)]
    spent = tuple(phase for phase in phases if phase is not None and phase.hours)
    if not spent:
        return None
    estimate, search = study.profiling.estimate, spent[0]
    wall = None
    if estimate is not None and search.expected_epochs is not None and search.epoch_s is not None:
        pace = search.epoch_s / 3600
        wall = (estimate.wall[0] * pace, estimate.wall[1] * pace)
    return Costs(unit=cost_unit(trials), phases=spent, wall_hours=study.searched_s / 3600, expected_wall_hours=wall)


def _search(study: ReadableStudy, trials: Sequence[TrialRecord], spans: Sequence[Span]) -> PhaseCost:
    estimate = study.profiling.estimate
    # The estimate is of a number of trials: a search that ended early or was extended is another one.
    is_comparable = estimate is not None and estimate.trials == len(trials)
    return PhaseCost(
        phase="search",
        epochs=sum(trial.facts.epochs or 0 for trial in trials),
        hours=sum(training_seconds(trial) for trial in trials) / 3600,
        expected_epochs=estimate.trained if estimate is not None and is_comparable else None,
        occupied_hours=_occupied_hours(spans, "search"),
        gpu_share=_mean_share((trial.facts.seconds or 0.0, trial.facts.gpu_seconds) for trial in trials),
    )


def _reevaluation(study: ReadableStudy, spans: Sequence[Span]) -> PhaseCost | None:
    known = reevaluated(study)
    if known is None:
        return None
    plan, epochs = known.plan, study.spec.epochs
    return PhaseCost(
        phase="re-evaluation",
        epochs=sum(run.epochs for run in known.runs),
        hours=sum(run.gpu_seconds for run in known.runs) / 3600,
        expected_epochs=(plan.first_runs * epochs, plan.max_runs * epochs),
        occupied_hours=_occupied_hours(spans, "re-evaluation"),
        gpu_share=_mean_share((run.seconds, run.gpu_seconds) for run in known.runs),
    )


def _final_run(study: ReadableStudy, spans: Sequence[Span]) -> PhaseCost | None:
    facts = study.final_run
    if facts is None:
        return None
    try:
        seconds = [seconds for _, seconds in epoch_seconds(read_run(Path(facts.directory)))]
    except TunerError:
        return None
    return PhaseCost(
        phase="final run",
        epochs=len(seconds),
        hours=sum(seconds) * max(facts.gpus, 1) / 3600,
        expected_epochs=(facts.epochs, facts.epochs),
        occupied_hours=_occupied_hours(spans, "final run"),
    )


def _mean_share(times: Iterable[tuple[float, float]]) -> float:
    """Return the mean share of a GPU of runs, given their seconds and GPU-seconds."""
    trained_s, on_gpus_s = (math.fsum(column) for column in zip((0.0, 0.0), *times, strict=True))
    return on_gpus_s / trained_s if trained_s and on_gpus_s else 1.0


def _occupied_hours(spans: Sequence[Span], phase: str) -> float | None:
    times = [span.ended_s - span.began_s for span in spans if span.phase == phase and span.ended_s is not None]
    return sum(times) / 3600 if times else None
