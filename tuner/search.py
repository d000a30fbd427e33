"""One search: what to train next, and whether what trains goes on.

Knows nothing of Ray, processes or clocks: whoever drives it asks for requests, passes on what trainers say, and
carries out the decisions. All that it must remember is in the study.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from optuna.trial import TrialState

from tuner.contract import EndRecord, EpochRecord, Outcome, Params, Record, StartedRecord, TrainRequest
from tuner.early_stopping import Asha
from tuner.paths import StudyPaths
from tuner.samplers import make_sampler
from tuner.space import Space
from tuner.study import Study, StudySpec, TrialRecord

MAX_IDENTICAL_FAILURES = 3
"""As many failures for one cause, before anything has succeeded, are not the configurations' fault."""


class Decision(StrEnum):
    """What a trainer should do after what it said."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(kw_only=True, slots=True)
class LiveTrial:
    """A trial that is being trained now."""

    number: int
    device: str = ""
    epoch: int = 0
    value: float | None = None
    """Metric at the last validated epoch."""
    seconds: float = 0.0
    memory_gib: float = 0.0
    latest: EpochRecord | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialTerms:
    """What is the same for every trial of a run."""

    threads: int
    gpus_per_trial: int
    validate_every_epoch: bool


class Search:
    """The search of one study.

    Call `propose` when a slot is free, `hear` for each record of a trial, `release` when a trial was cut off
    without an end record. After `stop` nothing new is proposed and every trial is told to stop.
    """

    def __init__(
        self,
        study: Study,
        space: Space,
        paths: StudyPaths,
        terms: TrialTerms,
        on_event: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._study = study
        self._space = space
        self._paths = paths
        self._terms = terms
        self._on_event = on_event
        self._spec: StudySpec = study.spec
        self._rule = Asha(rungs=self._spec.rungs, reduction_factor=self._spec.reduction_factor)
        self._curves: dict[int, dict[int, float]] = {}
        self._failures: Counter[str] = Counter()
        self.live: dict[int, LiveTrial] = {}
        self.trials: tuple[TrialRecord, ...] = ()
        self.stop_reason: str | None = None
        """Why the search ends before its last trial, once it does."""
        self.failure_policy: str | None = None
        """The failure that repeats, when that is why."""
        self._restore()

    @property
    def target(self) -> int:
        """Trials that the study shall have."""
        return self._space.settings.trials

    @property
    def finished(self) -> bool:
        """Whether nothing will be proposed any more."""
        return self.stop_reason is not None or (
            len(self.trials) >= self.target and not any(t.state == TrialState.WAITING for t in self.trials)
        )

    def propose(self) -> TrainRequest | None:
        """The next trial to train, or none when the search is finished."""
        if self.finished:
            return None
        number = len(self.trials)
        sampler = make_sampler(self._space.settings.sampler, seed=self._spec.seed, number=number, space=self._space)
        proposal = self._study.ask(sampler, self._space)
        self._refresh()
        self._curves.setdefault(proposal.number, {})
        self.live[proposal.number] = LiveTrial(number=proposal.number)
        return self._request(proposal.number, proposal.params)

    def hear(self, number: int, record: Record) -> Decision:
        """Take in one record of a live trial and say whether it goes on. Records heard before change nothing."""
        trial = self.live.get(number)
        if trial is None:
            return Decision.STOP
        if isinstance(record, StartedRecord):
            trial.device = record.device
            self._study.note_start(number, record.device, self._paths.trial(number))
        elif isinstance(record, EpochRecord):
            return self._hear_epoch(trial, record)
        elif isinstance(record, EndRecord):
            self._hear_end(trial, record)
            return Decision.STOP
        return Decision.STOP if self.stop_reason else Decision.CONTINUE

    def release(self, number: int) -> None:
        """The trial was cut off: it goes back in the queue, and goes on from its last checkpoint when asked for."""
        if self.live.pop(number, None) is not None:
            self._study.requeue(number)
            self._refresh()

    def fail(self, number: int, cause: str) -> None:
        """The trial cannot be trained, for a reason outside the trainer."""
        if number in self.live:
            self._fail(self.live[number], cause)

    def stop(self, reason: str) -> None:
        """Propose nothing more and stop every trial at its next sign of life; the study can go on later."""
        self.stop_reason = self.stop_reason or reason

    def _restore(self) -> None:
        """Take up the study where it stands: the rungs are in the curves, the queue is in the states."""
        requeued = self._study.requeue_running()
        if requeued:
            self._on_event(f"{requeued} interrupted trials go on from their last checkpoint")
        if not self._study.trials():
            self._study.enqueue(self._space.baseline_sampled())
        self._refresh()
        self._curves = {trial.number: dict(trial.curve) for trial in self.trials}

    def _refresh(self) -> None:
        self.trials = self._study.trials()

    def _request(self, number: int, params: Params) -> TrainRequest:
        epochs = self._spec.epochs
        every = tuple(range(1, epochs + 1))
        return TrainRequest(
            study=self._study.name,
            trial=number,
            params=params,
            model=self._spec.model_source,
            data=self._spec.data_source,
            epochs=epochs,
            stop_epoch=epochs,
            validation_epochs=every if self._terms.validate_every_epoch else (*self._spec.rungs, epochs),
            seed=self._spec.seed,
            devices=tuple(range(self._terms.gpus_per_trial)),
            threads=self._terms.threads,
            directory=str(self._paths.trial(number)),
        )

    def _hear_epoch(self, trial: LiveTrial, record: EpochRecord) -> Decision:
        value = None if record.metrics is None else record.metrics.get(self._spec.metric, math.nan)
        known = record.epoch <= trial.epoch
        trial.epoch = max(trial.epoch, record.epoch)
        trial.seconds += 0.0 if known else record.seconds
        trial.latest = record
        trial.memory_gib = max(trial.memory_gib, record.memory_gib)
        curve = self._curves[trial.number]
        judged = record.epoch in curve
        if value is not None:
            trial.value = value
            if not judged:
                self._study.record_epoch(trial.number, record, value)
                curve[record.epoch] = value
        if self.stop_reason:
            return Decision.STOP
        if judged:
            return Decision.CONTINUE  # it passed when it arrived; those who came since change nothing
        reason = self._reason_to_stop(trial, record, value)
        if reason is None:
            return Decision.CONTINUE
        self._finish(trial, TrialState.PRUNED, reason=reason)
        return Decision.STOP

    def _reason_to_stop(self, trial: LiveTrial, record: EpochRecord, value: float | None) -> str | None:
        if value is not None and not math.isfinite(value):
            return f"diverged: {self._spec.metric} is {value} at epoch {record.epoch}"
        if not all(math.isfinite(loss) for loss in record.losses.values()):
            return f"diverged: a loss is not finite at epoch {record.epoch}"
        if value is None or trial.number == 0:
            return None  # the baseline runs to its end: the report compares with it
        return self._rule.verdict(trial.number, record.epoch, self._curves)

    def _hear_end(self, trial: LiveTrial, end: EndRecord) -> None:
        if end.outcome == Outcome.STOPPED:
            self.release(trial.number)
        elif end.outcome == Outcome.DIVERGED:
            self._finish(trial, TrialState.PRUNED, reason=f"diverged: {end.message}")
        elif end.outcome == Outcome.COMPLETED and self._spec.epochs in self._curves[trial.number]:
            self._failures.clear()
            self._finish(trial, TrialState.COMPLETE, value=self._curves[trial.number][self._spec.epochs])
        elif end.outcome == Outcome.COMPLETED:
            self._fail(trial, f"the trainer ended without a figure for epoch {self._spec.epochs}")
        else:
            self._fail(trial, f"{end.outcome.value}: {end.message}")

    def _fail(self, trial: LiveTrial, cause: str) -> None:
        self._finish(trial, TrialState.FAIL, reason=cause)
        succeeded = any(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in self.trials)
        self._failures[cause] += 1
        if not succeeded and self._failures[cause] >= MAX_IDENTICAL_FAILURES:
            self.failure_policy = cause
            self.stop(f"the first {MAX_IDENTICAL_FAILURES} trials failed alike: {cause}")

    def _finish(
        self,
        trial: LiveTrial,
        state: TrialState,
        *,
        value: float | None = None,
        reason: str = "",
    ) -> None:
        del self.live[trial.number]
        self._study.finish(
            trial.number,
            state,
            value=value,
            reason=reason,
            epochs=trial.epoch,
            seconds=round(trial.seconds, 3),
            memory_gib=round(trial.memory_gib, 3),
            **_what_ran(trial.latest),
        )
        self._refresh()
        self._on_event(_told(trial.number, state, value, reason, self._spec.metric))


def _what_ran(latest: EpochRecord | None) -> dict[str, object]:
    """What the last epoch says of the trial, for its record."""
    if latest is None:
        return {}
    metrics = {} if latest.metrics is None else {"metrics": dict(latest.metrics)}
    return {"batch": latest.batch, "checkpoint": latest.checkpoint, **metrics}


def _told(number: int, state: TrialState, value: float | None, reason: str, metric: str) -> str:
    what = f"{metric} {value:.4f}" if value is not None else reason
    return f"trial {number} {state.name.lower()}: {what}"


def failures_by_cause(trials: Sequence[TrialRecord]) -> Counter[str]:
    """How many trials failed for each cause."""
    return Counter(trial.reason for trial in trials if trial.state == TrialState.FAIL)
