"""Decide whether a search's winner is better than the default configuration, and which runs this takes.

The best of many noisy scores is biased upwards, so the winner's lead over the default proves nothing. The best few
configurations and the baseline are therefore trained again on seeds that the search never used, and only those runs
count. A seed gives all of them the same order of data, if the trainer supports it. So the test uses the difference to
the baseline on the same seed.

The design is a group sequential test with selection of a treatment (Thall, Simon and Ellenberg, Biometrics 1989;
Stallard and Todd, Statistics in Medicine 2003):

1. All candidates and the baseline run on the first `min_seeds` seeds. The candidate with the largest lead, the leader,
   stays; the others are dropped. For the same number of runs, this detects more gains than keeping them. The final run
   is as good, because between two close candidates the choice hardly matters.
2. Leader and baseline continue, one seed at a time, until the lead exceeds a critical value, no longer seems able to,
   or the runs are used up. `tuner.comparison.sequential_test` computes the critical values.

A configuration can be better on most seeds and far worse on a few. If the candidates vary more between seeds than the
baseline, a larger lead is required, and the statement says so. No test can see in a few runs what has not happened in
them: such a configuration looks better until the first bad run occurs.

The results depend only on plan and evidence: no clock, no state.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuner.comparison.contest import ComparisonPlan, Conclusion, ConfigurationResult, Evidence, Run, Verdict
from tuner.comparison.sequential_test import Look, Sample, stopping_boundary
from tuner.unit_cube import Floats

_RESOLUTION = 1e-9
"""Lower bound on a standard error, as a share of the baseline's metric: rounding differences are no gain."""
_UNEVEN = (
    " Candidates vary more between seeds than the baseline, which can hide rare bad runs, so a larger lead is required."
)
"""Sentence of a statement that rests on uneven noise."""


def next_runs(
    plan: ComparisonPlan, evidence: Evidence, *, running: Collection[tuple[int, int]] = (), ahead: int = 0
) -> tuple[Run, ...]:
    """Return the next runs, the most urgent first; none if the comparison is decided or all of them are running.

    All runs in one result can train in parallel. Ended, running and returned runs together never exceed `max_runs`.

    Args:
        plan: Plan of the comparison.
        evidence: Metrics of the ended runs.
        running: Runs that have started and not ended.
        ahead: Number of looks after the next one whose runs can start early, in slots that would otherwise be idle;
            ignored until there is a leader.
    """
    state = _replay(plan, evidence, running)
    wanted = list(state.needed)
    if state.needed and state.leader is not None:
        later = _paired_seeds(plan, evidence)[: plan.max_seeds][state.seeds + 1 :][:ahead]
        wanted += _missing(evidence, [plan.baseline, state.leader], later)
    asked = [run for run in wanted if run not in running]
    return tuple(asked[: max(0, plan.max_runs - _used(plan, evidence, running))])


def verdict(plan: ComparisonPlan, evidence: Evidence) -> Verdict:
    """Judge the runs so far. After a decision, further runs change nothing unless a candidate fails in one."""
    state = _replay(plan, evidence, ())
    seen = state.look
    results = tuple(_result(plan, evidence, trial) for trial in plan.trials)
    return Verdict(
        conclusion=state.conclusion,
        decided=not state.needed,
        winner=_winner(state, results),
        leader=state.leader,
        gain=seen.gain if seen else None,
        interval=seen.interval if seen else None,
        p_value=seen.p_value if seen else None,
        seeds=state.seeds,
        runs=_used(plan, evidence, ()),
        results=results,
        statement=_statement(plan, state, results),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """Progress of a comparison."""

    conclusion: Conclusion = Conclusion.UNKNOWN
    needed: tuple[Run, ...] = ()
    """Runs that it waits for, possibly running already; empty once it is decided."""
    leader: int | None = None
    seeds: int = 0
    look: Look | None = None
    """Last look; None before the first."""
    uneven: bool = False
    """True if that look found uneven noise, and so required a larger lead."""
    why: str = "the first runs have not ended yet"
    """Reason why there is no conclusion."""


def _replay(plan: ComparisonPlan, evidence: Evidence, running: Collection[tuple[int, int]]) -> _State:
    """Take the looks one after the other, each on its own runs only, even if more have ended.

    A candidate that failed on any seed is excluded, and the rest is judged as if it had never taken part. A seed on
    which the baseline failed gives no difference, so the next seed replaces it: the comparison covers the seeds on
    which the baseline works.
    """
    if not plan.max_seeds:
        return _State(why=f"a comparison takes {plan.first_runs} runs, but only {plan.max_runs} are allowed")
    able = [trial for trial in plan.candidates if not _failures(plan, evidence, trial)]
    if not able:
        return _State(conclusion=Conclusion.NOT_SHOWN)
    seeds = _paired_seeds(plan, evidence)[: plan.max_seeds]
    state, remaining = _State(), able
    for count in range(plan.min_seeds, plan.max_seeds + 1):
        missing = _missing(evidence, [plan.baseline, *remaining], seeds[:count])
        if missing or len(seeds) < count:
            return _wait(plan, evidence, running, state, missing if len(seeds) >= count else [])
        if state.leader is None:
            remaining = [_leader(plan, evidence, able, seeds[:count])]
        sample = _sample(plan, evidence, remaining[0], able, seeds[:count])
        uneven = sample.is_uneven
        boundary = stopping_boundary(len(able), plan.min_seeds, plan.max_seeds, plan.alpha, uneven=uneven)
        look = boundary.look(sample)
        conclusion = Conclusion.BETTER if look.better else Conclusion.NOT_SHOWN
        state = _State(conclusion=conclusion, leader=remaining[0], seeds=count, look=look, uneven=uneven)
        if look.better or look.hopeless:
            break
    return state


def _wait(
    plan: ComparisonPlan,
    evidence: Evidence,
    running: Collection[tuple[int, int]],
    state: _State,
    missing: Sequence[Run],
) -> _State:
    """Return the state that waits for the missing runs, or a final state if they cannot run."""
    failed = _failures(plan, evidence, plan.baseline)
    runs = _used(plan, evidence, running) + sum(run not in running for run in missing)
    if missing and failed < plan.min_seeds and runs <= plan.max_runs:
        return replace(state, needed=tuple(missing))
    ended = failed + _result(plan, evidence, plan.baseline).seeds
    why = f"the baseline failed on {failed} of {ended} seeds" if failed else "the runs are used up"
    return replace(state, why=why)


def _paired_seeds(plan: ComparisonPlan, evidence: Evidence) -> list[int]:
    """Return the seeds on which the baseline has not failed, in their order."""
    return [s for s in plan.seeds if math.isfinite(evidence.get((plan.baseline, s), 0.0))]


def _missing(evidence: Evidence, trials: Sequence[int], seeds: Sequence[int]) -> list[Run]:
    return [Run(trial, seed) for seed in seeds for trial in trials if (trial, seed) not in evidence]


def _failures(plan: ComparisonPlan, evidence: Evidence, trial: int) -> int:
    return sum(not math.isfinite(evidence.get((trial, seed), 0.0)) for seed in plan.seeds)


def _used(plan: ComparisonPlan, evidence: Evidence, running: Collection[tuple[int, int]]) -> int:
    return sum(run in evidence or run in running for run in plan.runs)


def _leader(plan: ComparisonPlan, evidence: Evidence, trials: Sequence[int], seeds: Sequence[int]) -> int:
    """Return the trial with the largest lead over the baseline."""
    leads = _metrics(evidence, trials, seeds) - _metrics(evidence, [plan.baseline], seeds)
    return trials[int(np.argmax(leads.mean(axis=1)))]


def _sample(
    plan: ComparisonPlan, evidence: Evidence, leader: int, trials: Sequence[int], seeds: Sequence[int]
) -> Sample:
    """Return the metrics for a look at the leader: of the other trials, only those on the first seeds."""
    baseline, lead = _metrics(evidence, [plan.baseline, leader], seeds)
    return Sample(
        baseline=baseline,
        leader=lead,
        others=_metrics(evidence, [trial for trial in trials if trial != leader], seeds[: plan.min_seeds]),
        resolution=max(_RESOLUTION * float(np.abs(baseline).max()), float(np.finfo(float).tiny)),
    )


def _metrics(evidence: Evidence, trials: Sequence[int], seeds: Sequence[int]) -> Floats:
    """Return the metrics of trials on seeds, shape (trials, seeds)."""
    return np.array([[evidence[trial, seed] for seed in seeds] for trial in trials]).reshape(len(trials), len(seeds))


def _result(plan: ComparisonPlan, evidence: Evidence, trial: int) -> ConfigurationResult:
    ended = [evidence[trial, seed] for seed in plan.seeds if (trial, seed) in evidence]
    good = [metric for metric in ended if math.isfinite(metric)]
    mean = sum(good) / len(good) if good else None
    return ConfigurationResult(trial=trial, mean=mean, seeds=len(good), failures=len(ended) - len(good))


def _winner(state: _State, results: Sequence[ConfigurationResult]) -> int:
    """Choose the trial for the final run. Without a look: the best mean or, without means, the best of the search."""
    baseline, *candidates = results
    if state.look is not None and state.leader is not None:
        return state.leader if state.look.gain > 0 else baseline.trial
    able = [result for result in candidates if not result.failures]
    if not able or state.conclusion == Conclusion.NOT_SHOWN:
        return baseline.trial
    return max(able, key=lambda result: -np.inf if result.mean is None else result.mean).trial


def _statement(plan: ComparisonPlan, state: _State, results: Sequence[ConfigurationResult]) -> str:
    look, failed = state.look, results[0].failures
    if look is None:
        if state.conclusion == Conclusion.NOT_SHOWN:
            return "No gain over the default was shown: every candidate failed on at least one seed."
        return f"No conclusion about a gain over the default: {state.why}."
    low, high = look.interval
    values = f"{100 * (1 - plan.alpha):g} % interval [{low:.4g}, {high:.4g}], on {state.seeds} paired seeds"
    besides = f"; the baseline failed on {failed} more" if failed else ""
    uneven = _UNEVEN if state.uneven else ""
    if look.better:
        return f"Trial {state.leader} is better than the baseline by {look.gain:.4g}, {values}{besides}.{uneven}"
    yet = " yet" if state.needed else ""
    return (
        f"No gain over the default was shown{yet}: trial {state.leader}, the best candidate, differs from the "
        f"baseline by {look.gain:.4g}, {values}{besides}.{uneven}"
    )
