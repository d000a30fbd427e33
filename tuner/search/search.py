"""Decide which trial to train next, and whether a running trial continues.

A search knows nothing about Ray, processes or clocks: its driver asks for requests, passes on the trainers' records,
and carries out the decisions. The study holds its entire state.
"""

from collections.abc import Callable, Collection

from optuna.trial import TrialState

from tuner.contract import EndRecord, EpochRecord, ProgressRecord, Record, StartedRecord, TrainRequest
from tuner.decisions.stopping import Budget
from tuner.exceptions import FailurePolicyError, TunerError
from tuner.memory.limits import NOTHING_FITS
from tuner.search.budget import TimeBudget
from tuner.search.ending import Ending
from tuner.search.proposals import Proposals
from tuner.search.queue import TrialQueue
from tuner.search.restoring import restored_decider, restored_trial
from tuner.search.trial_events import TrialEvents
from tuner.space import Space, UnitCube
from tuner.study import StudyPaths, StudySession, TrialRecord
from tuner.system.disk_space import discard_weights
from tuner.trials.live import LiveTrial, share_of
from tuner.trials.requests import Inputs, TrialTerms, every_epoch, train_request
from tuner.trials.retry_policy import Failure
from tuner.trials.workload import Decision


class Search:
    """Search of one study, as a `tuner.trials.workload.Workload`.

    After `stop`, which it also calls itself, it suggests nothing more and stops every trial.
    """

    def __init__(
        self,
        study: StudySession,
        space: Space,
        paths: StudyPaths,
        terms: TrialTerms,
        on_event: Callable[[str], None] = lambda line: None,
        bounds: Budget | None = None,
    ) -> None:
        """Resume the search of a study from its record.

        Args:
            study: Study to search.
            space: Search space.
            paths: Paths of the study.
            terms: Settings that all trials share.
            on_event: Function that receives each line for the user.
            bounds: Limits of the search; None to end with the last trial.
        """
        self._study = study
        self._space = space
        self._paths = paths
        self._terms = terms
        self._devices = set(terms.devices)
        self.live: dict[int, LiveTrial] = {}
        study.interrupt_all()  # trials that a dead driver left running
        cube = UnitCube(space)
        self._decider = restored_decider(study.spec, space, cube, study.trials(), paths)
        self._queue = TrialQueue(study, self._decider, self.live, paths, target=self.target)
        num_interrupted = len(self._queue.interrupted)
        self.discard_dead_weights()
        self._queue.end_hopeless()
        self._budget = TimeBudget(study, self.live, bounds or Budget(), gpus_per_trial=terms.gpus_per_trial)
        self._ending = Ending(study, self._decider, self._queue, self._budget, paths, on_event)
        self._proposals = Proposals(study, space, cube, self._decider, self._queue, gpu_share=terms.gpu_share)
        self._events = TrialEvents(study, self._decider, self._queue, self._ending, self.live, paths, on_event)
        self._ending.check_ceiling()
        self._end_unneeded()
        self._ending.check_budget()
        if num_interrupted and self.stop_reason is None:
            on_event(f"{num_interrupted} interrupted trial(s) resume from their last checkpoint")

    @property
    def study(self) -> StudySession:
        """Study that is searched."""
        return self._study

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All trials, by number."""
        return self._study.trials()

    @property
    def target(self) -> int:
        """Number of trials that the study should have in the end."""
        return self._space.settings.trials

    @property
    def finished(self) -> bool:
        """True if the search has stopped, or no trial is running (it can fail and resume), waiting or yet to start."""
        return self.stop_reason is not None or self._queue.is_finished

    @property
    def stop_reason(self) -> str | None:
        """Reason why the search ends before its last trial; None if it does not."""
        return self._ending.reason

    @property
    def problem(self) -> TunerError | None:
        """Error for the driver to raise at the end; None if there is none."""
        return self._ending.problem

    @property
    def has_next(self) -> bool:
        """True if `suggest` would return a request now."""
        if self.finished:
            return False
        return bool(self._queue.has_room or self._queue.interrupted or self._decider.resumed() is not None)

    def suggest(self, avoided: Collection[int] = ()) -> TrainRequest | None:
        """Return the request for the next trial to train; None if there is nothing to train now.

        Args:
            avoided: Numbers of waiting trials that are suggested only if there are no others.
        """
        number = None if self.finished else self._next(avoided)
        if number is None:
            return None
        trial = self._study.trial(number)
        self.live[number] = restored_trial(trial, self._terms.gpu_share)
        return self._request(trial)

    def number_of(self, request: TrainRequest) -> int:
        """Return the number of the trial that a request is for."""
        return request.trial

    def report(self, number: int, record: Record) -> Decision:
        """Process a record of a running trial and decide whether it continues. Repeated records change nothing."""
        trial = self.live.get(number)
        if trial is None:
            return Decision.STOP
        match record:
            case StartedRecord():
                self._devices.add(record.device)
                return self._events.on_start(trial, record)
            case EpochRecord():
                return self._events.on_epoch(trial, record)
            case EndRecord():
                self._events.on_end(trial, record)
                return Decision.STOP
            case ProgressRecord():
                trial.within = share_of(record)
                return Decision.CONTINUE if self.stop_reason is None else Decision.STOP
            case _:
                return Decision.CONTINUE if self.stop_reason is None else Decision.STOP

    def on_lost(self, number: int, cause: str) -> None:
        """Handle a lost machine or process: retry the trial, unless its retries are used up."""
        if number in self.live:
            self._events.on_failure(self.live[number], Failure.INFRASTRUCTURE, cause)

    def requeue(self, number: int) -> None:
        """Put an interrupted trial back; it resumes from its last checkpoint when it is suggested again."""
        if number in self.live:
            self._events.requeue(self.live[number])

    def stop(self, reason: str, problem: TunerError | None = None) -> None:
        """Suggest nothing more and stop every trial at its next record; the study can resume later.

        Args:
            reason: Reason, for the user.
            problem: Error for the driver to raise at the end; None if there is none.
        """
        self._ending.stop(reason, problem)

    def pass_time(self, seconds: float) -> None:
        """Add the wall time since the last call, or since the driver started.

        Raises any error that makes continuing impossible, such as a lost lease.
        """
        self._study.check()
        self._budget.pass_time(seconds)
        self._ending.check_budget()

    def note_time(self) -> None:
        """Record the wall time of the search. Call it when the driver ends."""
        self._budget.note_time()

    def close(self) -> None:
        """Clean up after the last trainer has ended."""
        self._end_unneeded()
        self.discard_dead_weights()
        self.note_time()

    def epoch_seconds(self) -> float:
        """Return the epoch time of the slowest trial so far, in seconds; 0 before the first epoch has ended."""
        ended = [(t.facts.seconds or 0.0) / t.facts.epochs for t in self.trials if t.facts.epochs]
        running = [t.seconds / t.epoch for t in self.live.values() if t.epoch]
        return max((*ended, *running), default=0.0)

    def time_left_s(self) -> float | None:
        """Return the wall time in seconds until --max-hours or --gpu-hours ends the search at its present pace.

        None without these limits.
        """
        return self._budget.left_s()

    def never_resumes(self, trial: TrialRecord) -> bool:
        """Check whether a trial has ended without a result, so that nobody needs its weights."""
        return trial.state in (TrialState.PRUNED, TrialState.FAIL)

    def discard_dead_weights(self) -> None:
        """Remove the weights of trials that will never resume; complete only if no trainer is running."""
        for trial in self.trials:
            if self.never_resumes(trial):
                discard_weights(self._paths.trial(trial.number))

    def _next(self, avoided: Collection[int]) -> int | None:
        """Start or resume the next trial and return its number.

        Interrupted trials come first, paused ones second, new ones third, and interrupted ones to avoid last.
        """
        called = self._called(avoided)
        if called is not None:
            self._study.resume(called)
            self._decider.resume(called)
            return called
        if not self._queue.has_room:
            return None
        number = self._proposals.begin(self._devices)
        if number is None:
            error = f"The search stopped: {NOTHING_FITS}. Add smaller ones to the space, or choose a smaller model."
            self.stop(NOTHING_FITS, FailurePolicyError(error))
        return number

    def _called(self, avoided: Collection[int]) -> int | None:
        """Return the number of the waiting trial that resumes; None if there is none, or a new one should start."""
        interrupted = [trial.number for trial in self._queue.interrupted]
        others = [number for number in interrupted if number not in avoided]
        if others:
            return others[0]
        paused = self._decider.resumed()
        if paused is not None or not interrupted:
            return paused
        return None if self._queue.has_room else interrupted[0]

    def _request(self, trial: TrialRecord) -> TrainRequest:
        spec = self._study.spec
        needed = tuple(sorted({*self._decider.rungs, spec.epochs}))
        return train_request(
            Inputs.of_study(spec),
            trial.params,
            study=self._study.name,
            trial=trial.number,
            epochs=spec.epochs,
            validation_epochs=every_epoch(spec.epochs) if self._terms.validate_every_epoch else needed,
            seed=spec.seed,
            gpus=self._terms.gpus_per_trial,
            threads=self._terms.threads,
            gpu_share=self._terms.gpu_share,
            image_cache_bytes=self._terms.image_cache_bytes,
            directory=self._paths.trial(trial.number),
        )

    def _end_unneeded(self) -> None:
        """End interrupted trials if no better result is possible; after a spent budget, they could still resume."""
        reason = self._ending.ceiling()
        if reason is not None:
            self._queue.end_all(f"no longer needed: {reason}")
