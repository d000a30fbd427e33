"""Compare the leader with the default configuration on the same seeds."""

from dataclasses import dataclass

from tuner.comparison.record import reevaluated
from tuner.report.page.records.subject import finite
from tuner.study import ReadableStudy


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


def paired_seeds(study: ReadableStudy) -> PairedSeeds | None:
    """Return the runs of the verdict's leader and of the default configuration; None before the first look."""
    known = reevaluated(study)
    if known is None or known.verdict is None or known.verdict.leader is None:
        return None
    leader, baseline = known.verdict.leader, known.plan.baseline
    values = {(run.trial, run.seed): run.value for run in known.runs}
    seeds = [s for s in known.plan.seeds if (leader, s) in values or (baseline, s) in values]
    pairs = tuple(
        SeedPair(seed=s, default=finite(values.get((baseline, s))), leader=finite(values.get((leader, s))))
        for s in seeds
    )
    return PairedSeeds(
        metric=study.spec.metric,
        leader=leader,
        pairs=pairs,
        gain=known.verdict.gain,
        interval=known.verdict.interval,
    )
