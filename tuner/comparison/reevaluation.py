"""Train the best configurations of a search and the default one again, on seeds that the search never used.

`tuner.comparison.verdict` decides which runs this takes and what they show. This module turns its runs into requests,
and the trainers' records into its evidence. As with `tuner.search`, the driver asks for requests, passes records on and
carries out decisions. The study holds the entire state: the plan, the ended runs, and the verdict. An interrupted run
is suggested again, and resumes from the checkpoint in its folder.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from optuna.trial import TrialState

from tuner.comparison.contest import MIN_SEEDS, ComparisonPlan, Run, plan
from tuner.comparison.record import EndedRun, Reevaluated, reevaluated
from tuner.comparison.verdict import next_runs, verdict
from tuner.contract import EndRecord, EpochRecord, Outcome, ProgressRecord, Record, StartedRecord, TrainRequest
from tuner.divergence import divergence
from tuner.exceptions import DataError, FailurePolicyError, TunerError
from tuner.study import ReadableStudy, StudyPaths, StudySession, TrialRecord, place_problem
from tuner.system.disk_space import discard_weights
from tuner.trials.attempts import Attempts
from tuner.trials.live import DIVERGED, LiveTrial, share_of, total_loss
from tuner.trials.requests import Inputs, TrialTerms, train_request
from tuner.trials.retry_policy import Failure, failure_of
from tuner.trials.workload import Decision

LEAST_RUNS = 2 * MIN_SEEDS
"""Minimum number of runs: the default configuration and one other, on the minimum number of seeds."""

MOST_RUNS = 20
"""Maximum number of runs, unless the user asks for more."""

SHARE = 0.25
"""Share of the search's training time to spend on the comparison, unless the user sets the number of runs."""


def most_runs(asked: int | None, full_runs: float) -> int:
    """Return the maximum number of runs of a comparison.

    Args:
        asked: Number that the user sets; None for a share of the search.
        full_runs: Epochs that the search has trained, in runs to the last epoch.
    """
    return min(max(LEAST_RUNS, int(SHARE * full_runs)), MOST_RUNS) if asked is None else asked


def plan_for(study: ReadableStudy, runs: int | None = None) -> ComparisonPlan | None:
    """Plan the comparison that the results of the search call for.

    A plan that has started or ended stays valid as long as it covers the best configurations. Returns None if there is
    nothing to compare (the default configuration is not complete, or no trial was better), or too few runs are allowed.

    Args:
        study: Study with the results of the search.
        runs: Maximum number of runs; None for a quarter of what the search has trained, but 6 to 20.
    """
    trials = study.trials()
    ranking = _better_than_the_baseline(trials)
    trained = sum(trial.facts.epochs or 0 for trial in trials)
    most = most_runs(runs, trained / study.spec.epochs)
    if not ranking or most < LEAST_RUNS:
        return None
    known = reevaluated(study)
    used = max(known.plan.seeds, default=0) if known else study.spec.seed
    if known and known.plan.candidates == tuple(ranking[: len(known.plan.candidates)]):
        return known.plan
    return plan(ranking, baseline=0, search_seed=used, max_runs=most)


def _better_than_the_baseline(trials: Sequence[TrialRecord]) -> list[int]:
    """Return the complete trials with a higher value than the baseline, the best first."""
    ended = {t.number: t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None}
    if 0 not in ended:
        return []
    better = [number for number, value in ended.items() if value > ended[0]]
    return sorted(better, key=lambda number: (-ended[number], number))


@dataclass(kw_only=True, slots=True)
class LiveRun(LiveTrial):
    """Running re-evaluation: a trial again, on another seed."""

    seed: int
    first_loss: float = math.nan

    @property
    def run(self) -> Run:
        """Run of the plan."""
        return Run(self.number, self.seed)

    @property
    def label(self) -> str:
        """Name of the run in tables and messages."""
        return f"{self.number}, seed {self.seed}"


class Reevaluation:
    """Comparison in progress, as a `tuner.trials.workload.Workload`.

    Live runs have their own numbers: see `number_of`.
    """

    def __init__(
        self,
        study: StudySession,
        plan: ComparisonPlan,
        paths: StudyPaths,
        terms: TrialTerms,
        *,
        slots: int,
        on_event: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Start a comparison, or resume the one in the study.

        Args:
            study: Study to record the comparison in.
            plan: Plan of the comparison.
            paths: Paths of the study.
            terms: Settings that all runs share.
            slots: Number of parallel runs. Once there is a leader, slots that would be idle train ahead of the next
                look.
            on_event: Function that receives each line for the user.
        """
        self._study = study
        self._paths = paths
        self._terms = terms
        self._ahead = max(0, slots // 2 - 1)
        self._on_event = on_event
        self._attempts: dict[Run, Attempts] = {}
        self.live: dict[int, LiveRun] = {}
        self.stop_reason: str | None = None
        """Reason why it ends before it is decided; None if it does not."""
        self.problem: TunerError | None = None
        """Error for the driver to raise at the end; None if there is none."""
        known = reevaluated(study)
        self.known = known if known is not None and known.plan == plan else Reevaluated(plan=plan)
        self.verdict = self.known.verdict or verdict(plan, self.known.evidence)
        """Verdict so far. A stored one stands, even if an earlier version reached it by another rule."""
        self._write()

    @property
    def finished(self) -> bool:
        """True if no more runs will be suggested."""
        return self.stop_reason is not None or self.verdict.decided

    @property
    def over(self) -> Collection[Run]:
        """Runs that will not resume."""
        return self.known.plan.runs if self.verdict.decided else [Run(*run) for run in self.known.evidence]

    @property
    def study(self) -> StudySession:
        """Study that the comparison is recorded in."""
        return self._study

    @property
    def epochs(self) -> int:
        """Length of each run, in epochs."""
        return self._study.spec.epochs

    def number_of(self, request: TrainRequest) -> int:
        """Return the number of a run while it is live: its position in the plan."""
        return self.known.plan.runs.index(Run(request.trial, request.seed))

    @property
    def has_next(self) -> bool:
        """True if `suggest` would return a request now."""
        return bool(self._wanted())

    def suggest(self, avoided: Collection[int] = ()) -> TrainRequest | None:
        """Return the request for the next run; None if there is nothing to train now.

        Args:
            avoided: Numbers of runs that are suggested only if there are no others.
        """
        wanted = self._wanted()
        if not wanted:
            return None
        numbers = {run: self.known.plan.runs.index(run) for run in wanted}
        run = next((run for run in wanted if numbers[run] not in avoided), wanted[0])
        request = self._request(run)
        attempts = self._attempts.setdefault(run, Attempts())
        self.live[self.number_of(request)] = LiveRun(
            number=run.trial, seed=run.seed, attempts=attempts, gpu_share=self._terms.gpu_share
        )
        return request

    def report(self, number: int, record: Record) -> Decision:
        """Process a record of a live run and decide whether it continues."""
        live = self.live.get(number)
        if live is None:
            return Decision.STOP
        if isinstance(record, StartedRecord):
            live.device = record.device
        elif isinstance(record, ProgressRecord):
            live.within = share_of(record)
        elif isinstance(record, EpochRecord):
            return self._on_epoch(number, live, record)
        elif isinstance(record, EndRecord):
            self._on_end(number, live, record)
            return Decision.STOP
        return self._unless_over()

    def on_lost(self, number: int, cause: str) -> None:
        """Handle a lost machine or process: retry the run, unless its retries are used up."""
        if number in self.live:
            self._on_failure(number, self.live[number], Failure.INFRASTRUCTURE, cause)

    def requeue(self, number: int) -> None:
        """Put an interrupted run back; it is suggested again if it is still needed."""
        self.live.pop(number, None)

    def stop(self, reason: str, problem: TunerError | None = None) -> None:
        """Suggest nothing more and stop every run at its next record; the study can resume later."""
        if self.stop_reason is None:
            self.stop_reason, self.problem = reason, problem

    def pass_time(self, seconds: float) -> None:
        """Ignore wall time. Raise any error that makes continuing impossible, such as a lost lease."""
        self._study.check()

    def epoch_seconds(self) -> float:
        """Return the epoch time of the slowest run so far, in seconds; 0 before the first epoch has ended."""
        ended = [run.seconds / run.epochs for run in self.known.runs if run.epochs]
        return max((*ended, *(live.seconds / live.epoch for live in self.live.values() if live.epoch)), default=0.0)

    def close(self) -> None:
        """Remove the weights of runs that will not resume: only metrics count. Call it when no trainer is running."""
        for trial, seed in self.over:
            discard_weights(self._paths.reevaluated(trial, seed))

    def _wanted(self) -> tuple[Run, ...]:
        """Return the runs that could start now, the most useful first."""
        if self.finished:
            return ()
        running = [live.run for live in self.live.values()]
        return next_runs(self.known.plan, self.known.evidence, running=running, ahead=self._ahead)

    def _request(self, run: Run) -> TrainRequest:
        spec = self._study.spec
        return train_request(
            Inputs.of_study(spec),
            self._study.trials()[run.trial].params,
            study=self._study.name,
            trial=run.trial,
            epochs=spec.epochs,
            validation_epochs=(spec.epochs,),
            seed=run.seed,
            gpus=self._terms.gpus_per_trial,
            threads=self._terms.threads,
            gpu_share=self._terms.gpu_share,
            image_cache_bytes=self._terms.image_cache_bytes,
            directory=self._paths.reevaluated(run.trial, run.seed),
        )

    def _on_epoch(self, number: int, live: LiveRun, record: EpochRecord) -> Decision:
        live.note_epoch(record, self._study.spec.metric)
        loss = total_loss(record)
        if record.epoch == 1:
            live.first_loss = loss
        reason = divergence(live.value, loss, live.first_loss, has_detected=False)
        if reason is not None:
            self._end(number, None, f"{DIVERGED}: {reason} at epoch {record.epoch}")
            return Decision.STOP
        return self._unless_over()

    def _on_end(self, number: int, live: LiveRun, end: EndRecord) -> None:
        failure = failure_of(end)
        if failure is not None:
            self._on_failure(number, live, failure, end.message or end.outcome.value)
        elif end.outcome == Outcome.STOPPED:
            self.requeue(number)
        elif end.outcome == Outcome.DIVERGED:
            self._end(number, None, f"{DIVERGED}: {end.message}")
        elif live.epoch == self._study.spec.epochs and live.value is not None:
            self._end(number, live.value)
        else:
            self._end(number, None, f"the trainer ended without a metric for epoch {self._study.spec.epochs}")

    def _on_failure(self, number: int, live: LiveRun, failure: Failure, cause: str) -> None:
        """Retry a run like a trial.

        Machine failures do not count against a configuration: if retries do not help, the re-evaluation ends and can
        resume later.
        """
        self._study.check()
        problem = place_problem(self._study.spec.sources)
        if problem is not None:
            self.stop(str(problem), problem)
        if self.stop_reason is not None:
            self.requeue(number)
        elif live.attempts.fail(failure, cause):
            self.requeue(number)
            self._on_event(f"trial {live.label}, resumes from its last checkpoint: {cause}")
        elif failure in (Failure.INFRASTRUCTURE, Failure.HUNG):
            self.requeue(number)
            told = f"trial {live.label}, failed {len(live.attempts.failed)} times: {cause}"
            self.stop(told, FailurePolicyError(f"The re-evaluation stopped: {told}. The same command resumes it."))
        elif failure == Failure.BAD_DATA:
            self.requeue(number)
            told = f"trial {live.label}, cannot train on the data set: {cause}"
            self.stop(told, DataError(f"The re-evaluation stopped: {told}"))
        else:
            self._end(number, None, f"{failure.value}: {cause}")

    def _end(self, number: int, value: float | None, reason: str = "") -> None:
        live = self.live.pop(number)
        ended = EndedRun(
            trial=live.number,
            seed=live.seed,
            value=value,
            reason=reason,
            epochs=live.epoch,
            seconds=round(live.seconds, 3),
            gpu_share=live.gpu_share,
        )
        self.known = replace(self.known, runs=(*self.known.runs, ended))
        self.verdict = verdict(self.known.plan, self.known.evidence)
        self._write()
        metric = self._study.spec.metric
        self._on_event(f"trial {live.label}: {reason if value is None else f'{metric} {value:.4f}'}")

    def _write(self) -> None:
        decided = self.verdict if self.verdict.decided else None
        self.known = replace(self.known, verdict=decided)
        self._study.record_reevaluation(self.known.encoded())

    def _unless_over(self) -> Decision:
        """Stop runs that train ahead once the comparison is decided."""
        return Decision.STOP if self.finished else Decision.CONTINUE
