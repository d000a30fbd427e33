"""Whether a search's winner is better than the default configuration: which runs that takes, and what they say.

The winner of a search has the best of many noisy figures, so its figure flatters it, and its lead over the default
proves nothing. The best few configurations and the baseline are therefore trained again on seeds that the search
never used, and those runs alone are judged. A seed gives all of them the same order of data, as far as the trainer
can, so what counts is the difference to the baseline on the same seed.

The design is a group sequential test with selection of a treatment (Thall, Simon and Ellenberg, Biometrics 1989;
Stallard and Todd, Statistics in Medicine 2003):

1. Every candidate and the baseline run on the first `min_seeds` seeds. The candidate that is furthest ahead, the
   leader, stays; the others are dropped. For the same number of runs this shows more gains than keeping them, and
   what is promoted is as good: between two candidates that are close, it hardly matters which.
2. Leader and baseline go on, one seed at a time, until the leader's lead passes a critical value, or no longer looks
   able to do so, or the runs are used up.

The lead is divided by its standard error. Three seeds say little about a spread, so that of the differences is pooled
over the candidates; but it is taken for no less than the leader's own, in case the leader is the noisiest.

The critical values come from a simulation of this very procedure, selection and all looks included, with normal noise
and no gain anywhere; boundaries from textbooks assume many more than three seeds. They hold in the worst of three
cases: all configurations equally noisy, the baseline three times as noisy as the rest, one candidate so. What may
have been spent of alpha after n of N seeds grows as (n / N)² (Kim and DeMets, Biometrika 1987).

Four fifths of alpha are spent on that claim, and so on the lower end of the interval; one fifth is left for its upper
end, which misleads nobody. The lower end is above zero exactly when "better" is said.

No test on a handful of runs sees what has not happened in them: a configuration that is a little better on most seeds
and far worse on a rare one looks better until that seed comes up.

Everything follows from contest and evidence: no clock, no state, and the random numbers are always the same ones.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]

MIN_SEEDS = 3

_DRAWS = 50_000
"""Simulated contests: they meet the level to within 0.1 percentage points."""
_NOISE = ((1.0, 1.0, 1.0), (3.0, 1.0, 1.0), (1.0, 3.0, 1.0))
"""What the critical values hold for: standard deviations of the baseline, of one candidate, of the others."""
_LOWER_SHARE = 0.8
_SPENDING_POWER = 2.0
_HOPE = 1.0
"""The leader is given up when a lead greater by so many standard errors would not be enough in the end."""
_RESOLUTION = 1e-9
"""A standard error is at least this part of the baseline's metric: differences in the last digits are no gain."""


class Run(NamedTuple):
    """One configuration trained once."""

    trial: int
    seed: int


Evidence = Mapping[tuple[int, int], float]
"""Metric at the end of a run, by trial number and seed. Higher is better; not finite for one that diverged or failed
for good. What does not belong to the contest is ignored."""


class Decision(StrEnum):
    """What can be said of the gain."""

    BETTER = "better"
    NOT_SHOWN = "not shown"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Contest:
    """Who is compared, on what, and how many runs that may take.

    Raises:
        ValueError: a trial or a seed is named twice, there is no candidate, or a limit makes no sense.
    """

    baseline: int
    candidates: tuple[int, ...]
    """Trial numbers, the best of the search first."""
    seeds: tuple[int, ...]
    """In order of use. The search's own must not be among them: it is what the candidates were chosen by."""
    max_runs: int
    """All runs together."""
    min_seeds: int = MIN_SEEDS
    alpha: float = 0.05

    def __post_init__(self) -> None:
        trials = (self.baseline, *self.candidates)
        if not self.candidates:
            raise ValueError("A contest needs a candidate, but has none; name a trial besides the baseline.")
        if len(set(trials)) < len(trials):
            raise ValueError(f"A trial takes part once, but the trials are {trials}; name each once.")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"A seed is used once, but the seeds are {self.seeds}; name each once.")
        if self.min_seeds < 2:
            raise ValueError(f"A spread takes two seeds, but min_seeds is {self.min_seeds}; give 2 or more.")
        if not 0.001 <= self.alpha <= 0.5:
            raise ValueError(f"alpha must be from 0.001 to 0.5, but is {self.alpha}; 0.05 gives 95 % intervals.")

    @property
    def first_runs(self) -> int:
        """Runs before the first look."""
        return self.min_seeds * (len(self.candidates) + 1)

    @property
    def max_seeds(self) -> int:
        """Pairs of runs that the leader can get to; 0 when there is no room for the first look."""
        if self.max_runs < self.first_runs or len(self.seeds) < self.min_seeds:
            return 0
        return min(len(self.seeds), self.min_seeds + (self.max_runs - self.first_runs) // 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What the runs of one configuration came to."""

    trial: int
    mean: float | None
    """Over the seeds on which it did not fail; none without any."""
    seeds: int
    """Runs that ended well."""
    failures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What can be said of the winner; gain and interval in the metric's own unit."""

    decision: Decision
    decided: bool
    """Whether no further run is needed; if one is, this is how things stand."""
    winner: int
    """The trial to train in full: the leader if its lead is above zero, else the baseline."""
    leader: int | None
    """The candidate that gain, interval and p-value are about; none before the first look."""
    gain: float | None
    """The leader's mean difference to the baseline. The leader is the best of several and its lead what ended the
    contest, so this is too high on average, most where the interval is wide."""
    interval: tuple[float, float] | None
    """Has the true gain in it with probability 1 - alpha, selection and looks included."""
    p_value: float | None
    """Chance of as convincing a lead, or of an earlier claim, if no candidate were better; one-sided."""
    seeds: int
    """Pairs of runs that gain and interval rest on."""
    runs: int
    """Runs of the contest that have ended."""
    standings: tuple[Standing, ...]
    """The baseline first, then the candidates in their order."""
    statement: str


def plan(
    ranking: Sequence[int], *, baseline: int, search_seed: int, max_runs: int, candidates: int = 3, max_seeds: int = 12
) -> Contest:
    """The contest that `max_runs` runs have room for: rather fewer candidates than fewer than three seeds.

    Args:
        ranking: trial numbers, the best first; the baseline may be among them.
        search_seed: the seed that the search trained with.

    Raises:
        ValueError: the ranking names nothing but the baseline.
    """
    room = places(max_runs, candidates)
    chosen = tuple(dict.fromkeys(trial for trial in ranking if trial != baseline))[:room]
    seeds = tuple(range(search_seed + 1, search_seed + 1 + max_seeds))
    return Contest(baseline=baseline, candidates=chosen, seeds=seeds, max_runs=max_runs)


def places(max_runs: int, candidates: int = 3) -> int:
    """How many candidates so many runs have room for, on the least number of seeds."""
    return max(1, min(candidates, max_runs // MIN_SEEDS - 1))


def next_runs(
    contest: Contest, evidence: Evidence, *, running: Collection[tuple[int, int]] = (), ahead: int = 0
) -> tuple[Run, ...]:
    """The runs that are needed next, the most urgent first; none when it is decided or all of them are running.

    Those of one answer may run at the same time. Evidence, running ones and these are never more than `max_runs`.

    Args:
        running: runs that have been started and have not ended.
        ahead: looks after the next one whose runs may start before it is known that they are needed, in slots that
            would otherwise be idle; none before there is a leader.
    """
    state = _replay(contest, evidence, running)
    wanted = list(state.needed)
    if state.needed and state.leader is not None:
        later = _paired_seeds(contest, evidence)[: contest.max_seeds][state.seeds + 1 :][:ahead]
        wanted += _missing(evidence, [contest.baseline, state.leader], later)
    asked = [run for run in wanted if run not in running]
    return tuple(asked[: max(0, contest.max_runs - _used(contest, evidence, running))])


def verdict(contest: Contest, evidence: Evidence) -> Verdict:
    """What the runs so far say. Once it is decided, further runs change nothing, unless a candidate fails in one."""
    state = _replay(contest, evidence, ())
    seen = state.comparison
    standings = tuple(_standing(contest, evidence, trial) for trial in (contest.baseline, *contest.candidates))
    return Verdict(
        decision=state.decision,
        decided=not state.needed,
        winner=_winner(state, standings),
        leader=state.leader,
        gain=seen.gain if seen else None,
        interval=seen.interval if seen else None,
        p_value=seen.p_value if seen else None,
        seeds=state.seeds,
        runs=_used(contest, evidence, ()),
        standings=standings,
        statement=_statement(contest, state, standings),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    """Leader and baseline at one look."""

    gain: float
    interval: tuple[float, float]
    p_value: float
    better: bool
    hopeless: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """How far a contest has come."""

    decision: Decision = Decision.UNKNOWN
    needed: tuple[Run, ...] = ()
    """Runs without which it does not go on, some of them perhaps running; none when it is decided."""
    leader: int | None = None
    seeds: int = 0
    comparison: _Comparison | None = None
    why: str = "the first runs have not ended yet"
    """Why nothing can be said."""


def _replay(contest: Contest, evidence: Evidence, running: Collection[tuple[int, int]]) -> _State:
    """Take the looks one after the other, each on the runs that belong to it, whatever else has ended meanwhile.

    A candidate that failed on any seed is out, and the rest is judged as though it had never taken part. A seed on
    which the baseline failed gives no difference, so the next one takes its place: what is compared is how well both
    do where the baseline does its work.
    """
    if not contest.max_seeds:
        return _State(why=f"that takes {contest.first_runs} runs, and there is room for {contest.max_runs}")
    able = [trial for trial in contest.candidates if not _failures(contest, evidence, trial)]
    if not able:
        return _State(decision=Decision.NOT_SHOWN)
    seeds = _paired_seeds(contest, evidence)[: contest.max_seeds]
    state, going_on, best = _State(), able, 0
    for count in range(contest.min_seeds, contest.max_seeds + 1):
        missing = _missing(evidence, [contest.baseline, *going_on], seeds[:count])
        if missing or len(seeds) < count:
            return _wait(contest, evidence, running, state, missing if len(seeds) >= count else [])
        if state.leader is None:
            field = _differences(contest, evidence, able, seeds[:count])
            best = int(np.argmax(field.mean(axis=1)))
            going_on = [able[best]]
            boundary = _boundary(len(able), contest.min_seeds, contest.max_seeds, contest.alpha)
        lead = _differences(contest, evidence, going_on, seeds[:count])[0]
        smallest = _RESOLUTION * max(abs(evidence[contest.baseline, seed]) for seed in seeds[:count])
        seen = boundary.compare(np.delete(field, best, axis=0), lead, smallest)
        decision = Decision.BETTER if seen.better else Decision.NOT_SHOWN
        state = _State(decision=decision, leader=able[best], seeds=count, comparison=seen)
        if seen.better or seen.hopeless:
            break
    return state


def _wait(
    contest: Contest,
    evidence: Evidence,
    running: Collection[tuple[int, int]],
    state: _State,
    missing: Sequence[Run],
) -> _State:
    """The state until the missing runs have ended; the last one if it cannot have them."""
    failed = _failures(contest, evidence, contest.baseline)
    runs = _used(contest, evidence, running) + sum(run not in running for run in missing)
    if missing and failed < contest.min_seeds and runs <= contest.max_runs:
        return replace(state, needed=tuple(missing))
    ended = failed + _standing(contest, evidence, contest.baseline).seeds
    why = f"the baseline failed on {failed} of {ended} seeds" if failed else "the runs are used up"
    return replace(state, why=why)


def _paired_seeds(contest: Contest, evidence: Evidence) -> list[int]:
    """The seeds on which the baseline has not failed, in their order."""
    return [s for s in contest.seeds if math.isfinite(evidence.get((contest.baseline, s), 0.0))]


def _missing(evidence: Evidence, trials: Sequence[int], seeds: Sequence[int]) -> list[Run]:
    return [Run(trial, seed) for seed in seeds for trial in trials if (trial, seed) not in evidence]


def _failures(contest: Contest, evidence: Evidence, trial: int) -> int:
    return sum(not math.isfinite(evidence.get((trial, seed), 0.0)) for seed in contest.seeds)


def _used(contest: Contest, evidence: Evidence, running: Collection[tuple[int, int]]) -> int:
    trials = (contest.baseline, *contest.candidates)
    return sum((trial, seed) in evidence or (trial, seed) in running for trial in trials for seed in contest.seeds)


def _differences(contest: Contest, evidence: Evidence, trials: Sequence[int], seeds: Sequence[int]) -> Floats:
    """Metric less the baseline's on the same seed; trials x seeds."""
    return np.array([[evidence[trial, s] - evidence[contest.baseline, s] for s in seeds] for trial in trials])


def _standing(contest: Contest, evidence: Evidence, trial: int) -> Standing:
    ended = [evidence[trial, seed] for seed in contest.seeds if (trial, seed) in evidence]
    good = [metric for metric in ended if math.isfinite(metric)]
    mean = sum(good) / len(good) if good else None
    return Standing(trial=trial, mean=mean, seeds=len(good), failures=len(ended) - len(good))


def _winner(state: _State, standings: Sequence[Standing]) -> int:
    """Where nothing can be said of the gain, the best mean or, without one, the best of the search."""
    baseline, *candidates = standings
    if state.comparison is not None and state.leader is not None:
        return state.leader if state.comparison.gain > 0 else baseline.trial
    able = [s for s in candidates if not s.failures]
    if not able or state.decision == Decision.NOT_SHOWN:
        return baseline.trial
    return max(able, key=lambda s: -np.inf if s.mean is None else s.mean).trial


def _statement(contest: Contest, state: _State, standings: Sequence[Standing]) -> str:
    seen, failed = state.comparison, standings[0].failures
    if seen is None:
        if state.decision == Decision.NOT_SHOWN:
            return "No gain over the default was shown: every candidate failed on at least one seed."
        return f"Nothing can be said about a gain over the default: {state.why}."
    low, high = seen.interval
    figures = f"{100 * (1 - contest.alpha):g} % interval [{low:.4g}, {high:.4g}], on {state.seeds} paired seeds"
    besides = f"; the baseline failed on {failed} more" if failed else ""
    if seen.better:
        return f"Trial {state.leader} is better than the baseline by {seen.gain:.4g}, {figures}{besides}."
    yet = " yet" if state.needed else ""
    return (
        f"No gain over the default was shown{yet}: trial {state.leader}, the best of the candidates, differs from the "
        f"baseline by {seen.gain:.4g}, {figures}{besides}."
    )


def _standard_error(others: Floats, lead: Floats) -> Floats:
    """Of the leader's mean difference.

    Args:
        others: differences of the other candidates on the first seeds; ... x candidates x seeds.
        lead: those of the leader, on all seeds so far; ... x seeds.
    """
    seeds = lead.shape[-1]
    own = lead.var(axis=-1, ddof=1)
    squares = (seeds - 1) * own + others.var(axis=-1).sum(axis=-1) * others.shape[-1]
    pooled = squares / (seeds - 1 + others.shape[-2] * (others.shape[-1] - 1))
    error: Floats = np.sqrt(np.maximum(own, pooled) / seeds)
    return error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Boundary:
    """What a lead has to pass at each look, and what leads there are when there is no gain."""

    min_seeds: int
    max_seeds: int
    alpha: float
    critical: tuple[float, ...]
    """By look; in standard errors."""
    spent: tuple[tuple[float, ...], ...]
    """By look and case of noise: the part of the simulated contests that passed earlier."""
    leads: tuple[tuple[Floats, ...], ...]
    """By look and case of noise: the leads of those that had not passed, increasing."""

    def compare(self, others: Floats, lead: Floats, smallest: float) -> _Comparison:
        """One look; `smallest` is the least standard error to believe in."""
        seeds = len(lead)
        look = seeds - self.min_seeds
        gain = float(lead.mean())
        error = max(float(_standard_error(others, lead)), smallest, np.finfo(float).tiny)
        ratio = gain / error
        critical = self.critical[look]
        enough = self.critical[-1] * np.sqrt(seeds / self.max_seeds)
        return _Comparison(
            gain=gain,
            interval=(gain - critical * error, gain + self._upper(seeds, len(others)) * error),
            p_value=self._p_value(look, ratio),
            better=ratio > critical,
            hopeless=ratio <= max(0.0, enough - _HOPE),
        )

    def _upper(self, seeds: int, others: int) -> float:
        """Of Student's t, for the upper end. Selection and looks call for no more: they favour the leader.

        The candidates' differences are correlated by the baseline that they share, about a half, so each of the
        others adds less than its own degrees of freedom (Satterthwaite).
        """
        share = (1 + others) / (1 + others / 4) - 1
        freedom = seeds - 1 + (self.min_seeds - 1) * share
        return float(stdtrit(freedom, 1 - (1 - _LOWER_SHARE) * self.alpha))

    def _p_value(self, look: int, ratio: float) -> float:
        """Stagewise ordering (Jennison and Turnbull 2000, section 8.4), in the worst case of noise."""
        cases = zip(self.spent[look], self.leads[look], strict=True)
        return max(spent + (len(leads) - int(np.searchsorted(leads, ratio))) / _DRAWS for spent, leads in cases)


@lru_cache(maxsize=8)
def _boundary(candidates: int, min_seeds: int, max_seeds: int, alpha: float) -> _Boundary:
    """Simulate contests without a gain, and spend alpha on those whose leads are the greatest."""
    shape = (_DRAWS, candidates + 1, max_seeds)
    noise = np.random.default_rng(20030315).standard_normal(shape)
    looks = range(min_seeds, max_seeds + 1)
    ratios = [_leads(noise, case, looks) for case in (_NOISE if candidates > 1 else _NOISE[:1])]
    going = [np.ones(_DRAWS, bool) for _ in ratios]
    critical, spent, leads = [], [], []
    for look, seeds in enumerate(looks):
        budget = _LOWER_SHARE * alpha * (seeds / max_seeds) ** _SPENDING_POWER
        spent.append(tuple(1 - float(on.mean()) for on in going))
        leads.append(tuple(np.sort(by_look[look][on]) for by_look, on in zip(ratios, going, strict=True)))
        critical.append(max(_passed_by(*case, budget) for case in zip(spent[-1], leads[-1], strict=True)))
        going = [on & (by_look[look] <= critical[-1]) for by_look, on in zip(ratios, going, strict=True)]
    return _Boundary(
        min_seeds=min_seeds,
        max_seeds=max_seeds,
        alpha=alpha,
        critical=tuple(critical),
        spent=tuple(spent),
        leads=tuple(leads),
    )


def _passed_by(spent: float, leads: Floats, budget: float) -> float:
    """The lead that as many contests pass as the budget still allows."""
    allowed = int((budget - spent) * _DRAWS + 1e-6)
    return float(leads[-1 - allowed])


def _leads(noise: Floats, case: tuple[float, float, float], looks: Sequence[int]) -> list[Floats]:
    """The leader's lead in standard errors at each look, by simulated contest."""
    baseline, one, rest = case
    contests, candidates = len(noise), noise.shape[1] - 1
    spread = np.array([one, *[rest] * (candidates - 1)])
    differences = noise[:, 1:] * spread[:, None] - noise[:, :1] * baseline
    field = differences[:, :, : looks[0]]
    best = field.mean(axis=2).argmax(axis=1)
    rows = np.arange(contests)
    lead = differences[rows, best]
    others = field[rows[:, None], (best[:, None] + np.arange(1, candidates)) % candidates]
    return [lead[:, :n].mean(axis=1) / _standard_error(others, lead[:, :n]) for n in looks]
