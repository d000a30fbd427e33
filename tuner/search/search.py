"""One search: what to train next, and whether what trains goes on.

Knows nothing of Ray, processes or clocks: whoever drives it asks for requests, passes on what trainers say, and
carries out the decisions. All that it must remember is in the study.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from optuna.trial import TrialState

from tuner.contract import EndRecord, EpochRecord, Outcome, ParamValue, Record, StartedRecord, TrainRequest
from tuner.decisions.decider import Decider, Lost
from tuner.decisions.history import History, Status
from tuner.decisions.rungs import Rungs
from tuner.decisions.stopping import DEAD_AFTER, Bounds, judged, only_zeros, since_best
from tuner.decisions.strategies import Limits, Pause, Stop, make_engine
from tuner.diagnosis import findings
from tuner.exceptions import DataError, StoppedByPolicy, TunerError
from tuner.memory.limits import NOTHING_FITS, Measured, MemoryLimits, memory_limits
from tuner.search.results import complete, found_ceiling, is_zero, nothing_learnt
from tuner.search.samplers import MODEL, chosen_sampler, make_sampler
from tuner.space import Space, UnitCube
from tuner.study import PAUSED_AT, DrivenStudy, Proposal, StudyPaths, StudySpec, TrialRecord, best_trial, place_problem
from tuner.system.disk_space import discard_weights
from tuner.trials.attempts import Attempts
from tuner.trials.live import DIVERGED, LiveTrial, metric_of, total_loss, trained
from tuner.trials.requests import Inputs, TrialTerms, every_epoch, train_request
from tuner.trials.retry_policy import MAX_IDENTICAL, FailedAttempt, Failure, failure_of, normalised_cause
from tuner.trials.workload import Decision
from tuner.unit_cube import Floats

_JUDGED = "judged"
"""Attribute of a trial that ended well or was ended: how many had ended or been paused by then, itself included."""

_NOTED_EVERY_S = 60.0
"""Of the wall time no more than this is forgotten when a driver is killed."""


class Search:
    """The search of one study.

    It is a `tuner.trials.workload.Workload`. After `stop`, which it may call itself, nothing new is suggested and every
    trial is told to stop.
    """

    def __init__(
        self,
        study: DrivenStudy,
        space: Space,
        paths: StudyPaths,
        terms: TrialTerms,
        on_event: Callable[[str], None] = lambda line: None,
        bounds: Bounds | None = None,
    ) -> None:
        self._study = study
        self._space = space
        self._paths = paths
        self._terms = terms
        self._on_event = on_event
        self._spec: StudySpec = study.spec
        self._cube = UnitCube(space)
        self._curves: dict[int, dict[int, float]] = {}
        self._failures: Counter[str] = Counter()
        self._lost_in_a_row = 0
        self._bounds = bounds or Bounds()
        self._searched_s = study.searched_s
        self._measured = Measured.of(study.rehearsal)
        self._device = ""
        self.live: dict[int, LiveTrial] = {}
        self.trials: tuple[TrialRecord, ...] = ()
        self.stop_reason: str | None = None
        """Why the search ends before its last trial, once it does."""
        self.problem: TunerError | None = None
        """The error that this is, when it is one."""
        self._restore()

    @property
    def study(self) -> DrivenStudy:
        """The study that is searched."""
        return self._study

    @property
    def target(self) -> int:
        """Trials that the study shall have."""
        return self._space.settings.trials

    @property
    def finished(self) -> bool:
        """Whether nothing will be proposed any more; what trains now may yet fail and have to go on."""
        return self.stop_reason is not None or not (self.live or self._waiting or len(self.trials) < self.target)

    @property
    def _waiting(self) -> list[int]:
        return [trial.number for trial in self.trials if trial.state == TrialState.WAITING]

    @property
    def _interrupted(self) -> int | None:
        """A trial that was cut off while it trained: such go on before anything else."""
        waiting = (self.trials[number] for number in self._waiting)
        return next((trial.number for trial in waiting if trial.params and not trial.is_paused), None)

    @property
    def _begins_new(self) -> bool:
        """Whether a trial can begin: what waits without parameters was asked for by a user."""
        return len(self.trials) < self.target or self._users_come_first

    def suggest(self) -> TrainRequest | None:
        """The next trial to train, or none when there is nothing to train now."""
        if self.finished:
            return None
        called = self._interrupted
        if called is None:
            called = self._decider.resumed()
        if called is not None:
            proposal: Proposal | None = self._study.resume(called)
            self._decider.resume(called)
        else:
            proposal = self._new_trial() if self._begins_new else None
        if proposal is None:
            return None
        self._refresh()
        self._curves.setdefault(proposal.number, {})
        noted = self.trials[proposal.number].attributes
        self.live[proposal.number] = LiveTrial(
            number=proposal.number,
            starts=noted.get("attempts", 0),
            attempts=Attempts(
                failed=[FailedAttempt(**attempt) for attempt in noted.get("setbacks", ())],
                reached=max(self._curves[proposal.number], default=0),
            ),
        )
        return self._request(proposal.number)

    def _new_trial(self) -> Proposal | None:
        limits = memory_limits(self.trials, self._device, self._measured)
        if self._device and limits.exclude_all_of(self._space):  # a new driver may have another device
            error = f"The search was ended: {NOTHING_FITS}. Choose smaller ones, or a smaller model."
            self.stop(NOTHING_FITS, StoppedByPolicy(error))
            return None
        number = len(self.trials)
        values = self._space.baseline_sampled() if number == 0 else self._of_warm_start(limits)
        name = chosen_sampler(self._space)
        modelled = self._modelled(limits) if name == MODEL and values is None else None
        if name == MODEL:
            values = values or modelled
            name = "random"  # draws nothing where all values are given, and for a user's trial what is left open
        sampler = make_sampler(name, seed=self._spec.seed, number=number, space=self._space, limits=limits)
        proposal = self._study.propose(sampler, self._space, values)
        is_proposed = modelled is not None and not limits.too_large
        self._decider.begin(self._point(self._study.trials()[proposal.number]), is_proposed=is_proposed)
        return proposal

    @property
    def _users_come_first(self) -> bool:
        """Whether a trial waits that a user asked for."""
        return any(not self.trials[number].params for number in self._waiting)

    def _of_warm_start(self, limits: MemoryLimits) -> Mapping[str, ParamValue] | None:
        """What is tried before anything is proposed; none where all of it was, or a user's own trial comes first."""
        tried = [trial.sampled for trial in self.trials]
        left = (values for values in self._spec.warm_start if values not in tried)
        fitting = (values for values in left if not limits.exclude(self._space.resolve(values)))
        return None if self._users_come_first else next(fitting, None)

    def _modelled(self, limits: MemoryLimits) -> Mapping[str, ParamValue] | None:
        """What the model of all trials proposes; none where a user's own trial comes first."""
        if self._users_come_first:
            return None
        point = self._decider.proposed(lambda point: not limits.exclude(self._space.resolve(self._cube.sampled(point))))
        return None if point is None else self._cube.sampled(point)

    def _point(self, trial: TrialRecord) -> Floats:
        return self._cube.point(trial.sampled)

    def report(self, number: int, record: Record) -> Decision:
        """Take in one record of a live trial and say whether it goes on. Records heard before change nothing."""
        trial = self.live.get(number)
        if trial is None:
            return Decision.STOP
        if isinstance(record, StartedRecord):
            self._hear_start(trial, record)
        elif isinstance(record, EpochRecord):
            return self._hear_epoch(trial, record)
        elif isinstance(record, EndRecord):
            self._hear_end(trial, record)
            return Decision.STOP
        return self._unless_stopped()

    def on_lost(self, number: int, cause: str) -> None:
        """The machine or process that held the trial is gone: it goes on elsewhere, unless that has failed too."""
        if number in self.live:
            self._set_back(self.live[number], Failure.INFRASTRUCTURE, cause)

    def requeue(self, number: int) -> None:
        """The trial was cut off: it goes back in the queue, and goes on from its last checkpoint when asked for."""
        trial = self.live.pop(number, None)
        if trial is not None:
            self._study.interrupt(number, **self._newly_trained(trial))
            self._refresh()

    def stop(self, reason: str, problem: TunerError | None = None) -> None:
        """Propose nothing more and stop every trial at its next sign of life; the study can go on later.

        Args:
            problem: What whoever drives the search shall raise in the end, if it is an error.
        """
        if self.stop_reason is None:
            self.stop_reason, self.problem = reason, problem

    def number_of(self, request: TrainRequest) -> int:
        """By which a trial is known: its own."""
        return request.trial

    def pass_time(self, seconds: float) -> None:
        """So much wall time has passed since this was last called, or since the driver began.

        Raises what has made going on impossible, such as a lease that was lost.
        """
        self._study.check()
        self._searched_s += seconds
        if self._searched_s - self._study.searched_s >= _NOTED_EVERY_S:
            self.note_time()
        self._heed_bounds()

    def note_time(self) -> None:
        """Put the wall time of searching on record; to be called when the driver ends."""
        self._study.note_searched(self._searched_s)

    def close(self) -> None:
        """Tidy up when no trainer runs any more."""
        self._end_unneeded()
        self.discard_dead_weights()
        self.note_time()

    def epoch_seconds(self) -> float:
        """What an epoch takes in the slowest of the trials so far; 0 before any has ended one."""
        ended = [t.attributes["seconds"] / t.attributes["epochs"] for t in self.trials if t.attributes.get("epochs")]
        running = [t.seconds / t.epoch for t in self.live.values() if t.epoch]
        return max((*ended, *running), default=0.0)

    def time_left_s(self) -> float | None:
        """Wall time until --max-hours or --gpu-hours ends the search as it trains now; none without such a bound."""
        at_once = max(len(self.live) * max(self._terms.gpus_per_trial, 1), 1)
        lefts = []
        if self._bounds.hours is not None:
            lefts.append(self._bounds.hours * 3600 - self._searched_s)
        if self._bounds.gpu_hours is not None:
            lefts.append((self._bounds.gpu_hours * 3600 - self._trained_s()) / at_once)
        return max(min(lefts), 0.0) if lefts else None

    def discard_dead_weights(self) -> None:
        """Remove the weights of trials that will never go on; only when no trainer runs any more, to be thorough."""
        for trial in self.trials:
            if trial.state in (TrialState.PRUNED, TrialState.FAIL):
                discard_weights(self._paths.trial(trial.number))

    def _restore(self) -> None:
        """Take up the study where it stands: the rungs are in the curves, the queue is in the states."""
        self._study.interrupt_all()  # what a dead driver left
        self._refresh()
        interrupted = sum(t.state == TrialState.WAITING and bool(t.params) and not t.is_paused for t in self.trials)
        self._curves = {trial.number: dict(trial.curve) for trial in self.trials}
        self._decider = self._restored_decider()
        self.discard_dead_weights()
        self._end_paused()
        is_dead = self._why_dead() is not None
        self._told_dead = judged(self._decider.history) if is_dead else 0  # who goes on all the same has a reason
        self._heed_ceiling()
        self._end_unneeded()
        self._heed_bounds()
        if interrupted and self.stop_reason is None:
            self._on_event(f"{interrupted} interrupted trial(s) go on from their last checkpoint")

    def _why_dead(self) -> str | None:
        """Why going on teaches nothing; none while it may."""
        best = best_trial(self.trials)
        if best is None or best.value is None:
            return None
        if is_zero(best.value):
            rungs = Rungs(epochs=self._spec.rungs, reduction_factor=self._spec.reduction_factor)
            is_enough = only_zeros(self._decider.history, rungs)
        else:
            is_enough = len(complete(self.trials)) >= DEAD_AFTER
        return nothing_learnt(self.trials, self._spec.metric) if is_enough else None

    def _heed_guards(self) -> None:
        """A trial has been judged: end the search if a bound is reached, or if it can learn nothing, or no more."""
        reason = self._why_dead()
        if reason is not None and judged(self._decider.history) >= self._told_dead + DEAD_AFTER:
            best = best_trial(self.trials)
            assert best is not None, "it takes a full run to call a search dead"
            self._give_up(reason, best.number)
        self._heed_ceiling()
        self._heed_bounds()

    def _heed_ceiling(self) -> None:
        reason = self._ceiling()
        if reason is not None and not self.finished:
            self._on_event(f"the search ends: {reason}; nothing better can come")
            self.stop(reason)

    def _ceiling(self) -> str | None:
        return found_ceiling(self.trials, self._spec.metric, enough=DEAD_AFTER)

    def _end_unneeded(self) -> None:
        """End what was cut off at the ceiling: unlike what a budget has cut off, it never goes on."""
        reason = self._ceiling()
        if reason is None or self.live:
            return
        for number in self._waiting:
            if self.trials[number].params:
                self._end_one_paused(number, f"not needed any more: {reason}")

    def _heed_bounds(self) -> None:
        if self.finished:
            return
        judged_now = judged(self._decider.history)
        complete = ((t.value, t.attributes.get(_JUDGED, judged_now)) for t in self.trials if t.value is not None)
        reason = self._bounds.reached(
            searched_s=self._searched_s, trained_s=self._trained_s(), since_best=since_best(complete, judged_now)
        )
        if reason is not None:
            self._on_event(f"the search ends: {reason}; with a larger number it goes on")
            self.stop(reason)

    def _trained_s(self) -> float:
        """Seconds of training of all trials, times the GPUs of each."""
        running = {number: trial.seconds for number, trial in dict(self.live).items()}
        each = (max(_noted_seconds(trial), running.get(trial.number, 0.0)) for trial in self.trials)
        return math.fsum(each) * max(self._terms.gpus_per_trial, 1)

    def _newly_trained(self, trial: LiveTrial) -> dict[str, object]:
        """How far a trial has come that is cut off, unless more is known from an attempt before."""
        is_news = trial.seconds > _noted_seconds(self.trials[trial.number])
        return {"epochs": trial.epoch, "seconds": round(trial.seconds, 3)} if is_news else {}

    def _restored_decider(self) -> Decider:
        """What decides, with all that is known so far: the rungs are in the curves."""
        settings, spec = self._space.settings, self._spec
        engine = make_engine(
            settings.strategy,
            self._cube.cube,
            Rungs(epochs=spec.rungs, reduction_factor=spec.reduction_factor),
            seed=spec.seed,
            limits=Limits(trials=self.target),
        )
        history = History(epochs=spec.epochs, dimensions=len(self._cube.labels))
        for trial in self.trials:
            if not trial.params:
                continue  # a user's, not begun
            history.begin(self._point(trial))
            for epoch, value in trial.curve.items():
                if math.isfinite(value) and epoch <= spec.epochs:
                    history.hear(trial.number, epoch, value)
            history.set_status(trial.number, _status(trial))
        return Decider(engine, history, self._log_decision)

    def _log_decision(self, line: str) -> None:
        # For people: a full disk is told by what must be written.
        with contextlib.suppress(OSError), self._paths.decisions.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def _end_paused(self) -> None:
        """End what is paused and never goes on: all of it, once nothing trains and nothing begins any more."""
        for number, reason in self._decider.hopeless().items():
            self._end_one_paused(number, reason)
        if self.live or self._interrupted is not None or self._begins_new or self._decider.resumed() is not None:
            return
        for trial in self.trials:
            if trial.is_paused:
                epoch = trial.attributes[PAUSED_AT]
                reason = f"early stop at epoch {epoch}: {trial.curve[epoch]:.4f} was not among the best at this rung"
                self._end_one_paused(trial.number, reason)

    def _end_one_paused(self, number: int, reason: str) -> None:
        self._study.finish(number, TrialState.PRUNED, reason=reason)
        self._decider.end(number, Status.STOPPED)
        self._refresh()
        discard_weights(self._paths.trial(number))

    def _refresh(self) -> None:
        self.trials = self._study.trials()

    def _request(self, number: int) -> TrainRequest:
        epochs = self._spec.epochs
        return train_request(
            Inputs.of_study(self._spec),
            self.trials[number].params,
            study=self._study.name,
            trial=number,
            epochs=epochs,
            validation_epochs=(
                every_epoch(epochs) if self._terms.validate_every_epoch else (*self._spec.rungs, epochs)
            ),
            seed=self._spec.seed,
            gpus=self._terms.gpus_per_trial,
            threads=self._terms.threads,
            directory=self._paths.trial(number),
        )

    def _hear_start(self, trial: LiveTrial, record: StartedRecord) -> None:
        trial.device = self._device = record.device
        trial.starts += 1
        directory = self._paths.trial(trial.number)
        self._study.note(
            trial.number,
            device=record.device,
            attempts=trial.starts,
            directory=str(directory),
            log=str(directory / "trainer.log"),
        )

    def _hear_epoch(self, trial: LiveTrial, record: EpochRecord) -> Decision:
        value, loss = metric_of(record, self._spec.metric), total_loss(record)
        if trial.note_epoch(record, self._spec.metric):
            self._lost_in_a_row = 0
        curve = self._curves[trial.number]
        if record.epoch == 1:
            self._decider.note_first_loss(trial.number, loss)
        if value is not None and record.epoch in curve:
            return self._unless_stopped()  # judged when it arrived; those who came since change nothing
        if value is not None:
            curve[record.epoch] = value
        verdict = self._decider.hear(trial.number, record.epoch, value, loss)
        # One change: a driver that dies here has judged the trial and noted it, or has not heard of it.
        if isinstance(verdict, Stop):
            figure = {} if value is None else {record.epoch: value}
            reason = f"{DIVERGED}: {verdict.reason}" if isinstance(verdict, Lost) else verdict.reason
            self._finish(trial, TrialState.PRUNED, reason=reason, curve=figure)
            return Decision.STOP
        if isinstance(verdict, Pause):
            assert value is not None
            self._pause(trial, record.epoch, value)
            return Decision.STOP
        if value is not None:
            self._study.record_epoch(trial.number, record.epoch, value)
        if record.epoch < self._spec.epochs:  # one that has trained its last shall be COMPLETE
            self._heed_bounds()
        return self._unless_stopped()

    def _unless_stopped(self) -> Decision:
        return Decision.STOP if self.stop_reason else Decision.CONTINUE

    def _pause(self, trial: LiveTrial, epoch: int, value: float) -> None:
        del self.live[trial.number]
        self._study.pause(trial.number, epoch, value, **trained(trial))
        self._refresh()
        self._on_event(f"trial {trial.number} waits after epoch {epoch}: {self._spec.metric} {value:.4f}")
        self._end_paused()
        self._heed_guards()

    def _hear_end(self, trial: LiveTrial, end: EndRecord) -> None:
        failure = failure_of(end)
        if failure is not None:
            self._set_back(trial, failure, end.message or end.outcome.value)
        elif end.outcome == Outcome.STOPPED:  # by us, or by a machine that is wanted back: no failure either way
            self.requeue(trial.number)
        elif end.outcome == Outcome.DIVERGED:
            self._finish(trial, TrialState.PRUNED, reason=f"{DIVERGED}: {end.message}")
        elif self._spec.epochs in self._curves[trial.number]:
            self._finish(trial, TrialState.COMPLETE, value=self._curves[trial.number][self._spec.epochs])
        else:
            self._fail(trial, Failure.BUG, f"the trainer ended without a figure for epoch {self._spec.epochs}")

    def _set_back(self, trial: LiveTrial, failure: Failure, cause: str) -> None:
        self._study.check()
        problem = place_problem(self._spec.sources)
        if problem is not None:
            self.stop(str(problem), problem)
            self.requeue(trial.number)  # no configuration is to blame for where things lie
            return
        if failure == Failure.INFRASTRUCTURE and self.stop_reason is not None:
            self.requeue(trial.number)  # by what ends the search, a full disk most often: not held against the trial
            return
        if trial.attempts.fail(failure, cause):
            del self.live[trial.number]
            setbacks = [asdict(attempt) for attempt in trial.attempts.failed]
            self._study.interrupt(trial.number, setbacks=setbacks, **self._newly_trained(trial))
            self._refresh()
            self._on_event(f"trial {trial.number} goes on from its last checkpoint: {cause}")
        elif failure == Failure.BAD_DATA:
            self._end_for_data(trial, cause)
        elif failure == Failure.OUT_OF_MEMORY:
            reason = f"{failure.value}: {cause}"
            self._finish(trial, TrialState.PRUNED, reason=reason, failure=failure, infeasible=True)
        else:
            self._fail(trial, failure, cause)

    def _fail(self, trial: LiveTrial, failure: Failure, cause: str) -> None:
        reason = f"{failure.value}: {cause}"
        self._finish(trial, TrialState.FAIL, reason=reason, failure=failure)
        self._failures[normalised_cause(reason)] += 1
        self._lost_in_a_row += failure in (Failure.INFRASTRUCTURE, Failure.HUNG)
        if self._failures[normalised_cause(reason)] >= MAX_IDENTICAL and not any(t.curve for t in self.trials):
            self._give_up(f"the first {MAX_IDENTICAL} trials failed alike: {reason}", trial.number)
        elif self._lost_in_a_row >= MAX_IDENTICAL:
            self._give_up(
                f"{MAX_IDENTICAL} trials in a row were lost, with no epoch trained between: {reason}", trial.number
            )

    def _end_for_data(self, trial: LiveTrial, cause: str) -> None:
        """End the search: every trial reads the same data, so it is no trial's fault, and this one can go on later."""
        number = trial.number
        self.requeue(number)
        self.stop(f"bad data: {cause}", DataError(f"Trial {number} met data that cannot be trained on: {cause}"))

    def _give_up(self, reason: str, shown_by: int) -> None:
        """End the search for what went wrong, with what the curves of a trial show of it."""
        shown = "".join(f". Trial {shown_by} shows {line}" for line in findings(self._paths.trial(shown_by)))
        logs = self._paths.root / "trials"
        self.stop(reason, StoppedByPolicy(f"The search was ended: {reason}{shown}. Logs: {logs}"))

    def _finish(
        self,
        trial: LiveTrial,
        state: TrialState,
        *,
        value: float | None = None,
        reason: str = "",
        curve: Mapping[int, float] | None = None,
        failure: Failure | None = None,
        infeasible: bool = False,
    ) -> None:
        del self.live[trial.number]
        setbacks = [asdict(attempt) for attempt in trial.attempts.failed]
        self._study.finish(
            trial.number,
            state,
            value=value,
            reason=reason,
            curve=curve,
            infeasible=infeasible,
            **({"failure": failure.value} if failure else {}),
            **({"setbacks": setbacks} if setbacks else {}),
            **({_JUDGED: judged(self._decider.history) + 1} if state != TrialState.FAIL else {}),
            **trained(trial),
        )
        self._refresh()
        self._decider.end(trial.number, _status(self.trials[trial.number]))
        if state != TrialState.COMPLETE:
            discard_weights(self._paths.trial(trial.number))
        self._on_event(_told(trial.number, state, value, reason, self._spec.metric))
        self._end_paused()
        self._heed_guards()


def _status(trial: TrialRecord) -> Status:
    """What a decision needs to know of a trial's state."""
    lost = trial.reason.startswith(DIVERGED) or trial.attributes.get("failure") == Failure.OUT_OF_MEMORY
    match trial.state:
        case TrialState.PRUNED:
            return Status.LOST if lost else Status.STOPPED
        case TrialState.WAITING:
            return Status.PAUSED if trial.is_paused else Status.RUNNING  # cut off: it goes on before anything else
        case TrialState.COMPLETE:
            return Status.COMPLETE
        case TrialState.FAIL:
            return Status.UNKNOWN
        case _:
            return Status.RUNNING


def _noted_seconds(trial: TrialRecord) -> float:
    """What a trial has trained as far as it is noted; a trainer may have told of times that are no numbers."""
    seconds = trial.attributes.get("seconds")
    return seconds if isinstance(seconds, int | float) else 0.0


def _told(number: int, state: TrialState, value: float | None, reason: str, metric: str) -> str:
    what = f"{metric} {value:.4f}" if value is not None else reason
    return f"trial {number} {state.name.lower()}: {what}"


def failures_by_cause(trials: Sequence[TrialRecord]) -> Counter[str]:
    """How many trials failed for each cause."""
    return Counter(trial.reason for trial in trials if trial.state == TrialState.FAIL)
