"""Reduce a study to one record for each chart of its report: plain values, without any drawing."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from optuna.trial import TrialState

from tuner.comparison.record import reevaluated
from tuner.exceptions import NoSuccessfulTrialError
from tuner.study import ReadableStudy, TrialRecord
from tuner.training.final_run import choose_winner
from tuner.trials.live import DIVERGED

_MAX_POINTS = 20_000
"""Points of all curves in one chart; more make the page heavy and cannot be told apart."""


class Role(StrEnum):
    """Role of a trial in the charts."""

    WINNER = "winner"
    DEFAULT = "default"
    OTHER = "other trial"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """Facts about a study that all charts share."""

    name: str
    metric: str
    winner: int | None
    """Trial number of the winner; None before there is one."""
    default: int | None
    """Trial number of the default configuration; None if the study has none."""
    maximised: bool = True
    """False if a lower value is better, which only a study of another program can have."""

    def role(self, trial: int) -> Role:
        """Return the role of a trial; a default configuration that was not beaten stays the default."""
        if trial == self.default:
            return Role.DEFAULT
        return Role.WINNER if trial == self.winner else Role.OTHER

    def better(self, one: float, other: float) -> float:
        """Return the better one of two values."""
        return max(one, other) if self.maximised else min(one, other)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedPair:
    """Metrics of the default configuration and the leader on one seed; None for a run that failed or is missing."""

    seed: int
    default: float | None
    leader: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedSeeds:
    """Comparison of the leader with the default configuration on the same seeds."""

    metric: str
    leader: int
    pairs: tuple[SeedPair, ...]
    gain: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BestPoint:
    """Complete trial on the curve of the best value."""

    trial: int
    role: Role
    hours: float
    """Training time of all trials up to the end of this one, in hours of one slot."""
    value: float
    best: float
    """Best value so far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOverCost:
    """Best value of a search over its training time."""

    metric: str
    unit: str
    points: tuple[BestPoint, ...]
    hours: float
    """Training time of all trials, including those that are paused or were stopped."""
    default: float | None
    """Value of the default configuration; None if it is not complete."""
    estimate: tuple[float, float] | None
    """Estimated training time of the whole search, in the unit of `hours`; None if it cannot be compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialCurve:
    """Finite metrics of one trial by epoch."""

    trial: int
    role: Role
    ending: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """Learning curves of all trials."""

    metric: str
    rungs: tuple[int, ...]
    curves: tuple[TrialCurve, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class EndingCount:
    """Number of trials with the same ending."""

    ending: str
    trials: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotSpan:
    """Time in which one slot trained one trial without interruption."""

    phase: str
    """`search`, `reevaluation` or `final run`."""
    trial: int
    seed: int
    slot: str
    began_s: float
    """Seconds since the epoch of the clock."""
    ended_s: float | None
    """None if the end is unknown."""
    from_epoch: int
    to_epoch: int
    ending: str


def subject_of(study: ReadableStudy) -> Subject:
    """Return the shared facts of a study that tune created."""
    try:
        winner = choose_winner(study).trial.number
    except NoSuccessfulTrialError:
        winner = None
    return Subject(name=study.name, metric=study.spec.metric, winner=winner, default=0)


def paired_seeds(study: ReadableStudy) -> PairedSeeds | None:
    """Return the runs of the verdict's leader and of the default configuration; None before the first look."""
    known = reevaluated(study)
    if known is None or known.verdict is None or known.verdict.leader is None:
        return None
    leader, baseline = known.verdict.leader, known.plan.baseline
    values = {(run.trial, run.seed): run.value for run in known.runs}
    seeds = [s for s in known.plan.seeds if (leader, s) in values or (baseline, s) in values]
    pairs = tuple(
        SeedPair(seed=s, default=_finite(values.get((baseline, s))), leader=_finite(values.get((leader, s))))
        for s in seeds
    )
    return PairedSeeds(
        metric=study.spec.metric,
        leader=leader,
        pairs=pairs,
        gain=known.verdict.gain,
        interval=known.verdict.interval,
    )


def best_over_cost(
    subject: Subject, trials: Sequence[TrialRecord], *, epochs_estimated: tuple[float, float] | None = None
) -> BestOverCost | None:
    """Return the best value over the training time; None if no trial is complete or no time is known.

    Trials count in the order in which they ended, each with its whole training time.

    Args:
        subject: Shared facts of the study.
        trials: All trials.
        epochs_estimated: Estimated number of epochs of these trials; converted at the measured pace.
    """
    total = sum(_seconds(trial) for trial in trials)
    ended = sorted((t for t in trials if t.ended is not None), key=lambda t: (t.ended, t.number))
    points: list[BestPoint] = []
    spent = 0.0
    for trial in ended:
        spent += _seconds(trial)
        if trial.state != TrialState.COMPLETE or trial.value is None or not math.isfinite(trial.value):
            continue
        best = subject.better(points[-1].best, trial.value) if points else trial.value
        role = subject.role(trial.number)
        points.append(BestPoint(trial=trial.number, role=role, hours=spent / 3600, value=trial.value, best=best))
    if not points or not total:
        return None
    default = next((point.value for point in points if point.trial == subject.default), None)
    return BestOverCost(
        metric=subject.metric,
        unit=cost_unit(trials),
        points=tuple(points),
        hours=total / 3600,
        default=default,
        estimate=_estimate_hours(trials, epochs_estimated),
    )


def cost_unit(trials: Sequence[TrialRecord]) -> str:
    """Return the name of an hour of training: of one GPU, or of one slot on the CPU."""
    on_cpu = any((trial.facts.device or "").upper().startswith("CPU") for trial in trials)
    return "slot-hours" if on_cpu else "GPU-hours"


def curves_of(subject: Subject, trials: Sequence[TrialRecord], rungs: Sequence[int]) -> Curves | None:
    """Return the learning curves, the winner and the default last so that they are drawn on top; None without one.

    If the curves have too many points, epochs between the rungs are left out.
    """
    finite = {t.number: {e: v for e, v in sorted(t.curve.items()) if math.isfinite(v)} for t in trials}
    step = math.ceil(sum(map(len, finite.values())) / _MAX_POINTS) or 1
    order = {Role.OTHER: 0, Role.DEFAULT: 1, Role.WINNER: 2}
    curves = []
    for trial in sorted(trials, key=lambda t: order[subject.role(t.number)]):
        curve = _thinned(finite[trial.number], step, rungs)
        if curve:
            curves.append(
                TrialCurve(
                    trial=trial.number,
                    role=subject.role(trial.number),
                    ending=ending_of(trial),
                    epochs=tuple(curve),
                    values=tuple(curve.values()),
                )
            )
    return Curves(metric=subject.metric, rungs=tuple(rungs), curves=tuple(curves)) if curves else None


def endings(trials: Sequence[TrialRecord]) -> tuple[EndingCount, ...]:
    """Count the trials by their ending, the most frequent first."""
    counts = Counter(ending_of(trial) for trial in trials)
    return tuple(EndingCount(ending=ending, trials=number) for ending, number in counts.most_common())


def ending_of(trial: TrialRecord) -> str:
    """Return how a trial ended, in a few words that many trials share."""
    if trial.state == TrialState.COMPLETE:
        return "complete"
    if trial.state == TrialState.FAIL:
        return f"failed: {trial.facts.failure or 'error'}"
    if trial.state == TrialState.RUNNING:
        return "running"
    if trial.state == TrialState.WAITING:
        return f"paused at epoch {trial.facts.paused_at}" if trial.is_paused else "waiting"
    if trial.reason.startswith(DIVERGED):
        return DIVERGED
    if trial.facts.failure:
        return f"stopped: {trial.facts.failure}"
    return f"stopped at epoch {max(trial.curve)}" if trial.curve else "stopped"


def _estimate_hours(
    trials: Sequence[TrialRecord], epochs_estimated: tuple[float, float] | None
) -> tuple[float, float] | None:
    epochs = sum(trial.facts.epochs or 0 for trial in trials)
    if epochs_estimated is None or not epochs:
        return None
    hours_per_epoch = sum(_seconds(trial) for trial in trials) / epochs / 3600
    return epochs_estimated[0] * hours_per_epoch, epochs_estimated[1] * hours_per_epoch


def _seconds(trial: TrialRecord) -> float:
    """Return the training time of a trial; of a trial of another program, the time between its start and end."""
    if trial.facts.seconds is not None:
        return float(trial.facts.seconds)
    if trial.facts.directory is None and trial.began is not None and trial.ended is not None:
        return (trial.ended - trial.began).total_seconds()
    return 0.0


def _thinned(curve: Mapping[int, float], step: int, rungs: Sequence[int]) -> dict[int, float]:
    kept = {*list(curve)[::step], *list(curve)[-1:], *rungs}
    return {epoch: value for epoch, value in curve.items() if epoch in kept}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
