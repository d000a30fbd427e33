"""Record the events of running trials in the study, and decide whether each trial continues."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from optuna.trial import TrialState

from tuner.contract import EndRecord, EpochRecord, Outcome, StartedRecord
from tuner.contract.run_folder import LOG
from tuner.decisions.decider import Decider, Lost
from tuner.decisions.stopping import judged
from tuner.decisions.strategies import Pause, Stop
from tuner.exceptions import DataError
from tuner.search.ending import Ending
from tuner.search.queue import TrialQueue
from tuner.search.restoring import status_of
from tuner.study import NO_FACTS, StudyPaths, StudySession, TrialFacts, place_problem
from tuner.system.disk_space import discard_weights
from tuner.trials.live import DIVERGED, LiveTrial, mean_gpu_share, metric_of, total_loss, trained
from tuner.trials.retry_policy import Failure, failure_of
from tuner.trials.workload import Decision


class TrialEvents:
    """Handler of the events of the running trials of one search."""

    def __init__(
        self,
        study: StudySession,
        decider: Decider,
        queue: TrialQueue,
        ending: Ending,
        live: dict[int, LiveTrial],
        paths: StudyPaths,
        on_event: Callable[[str], None],
    ) -> None:
        """Attach the handler to a study.

        Args:
            study: Study that is searched.
            decider: Decisions of the search.
            queue: Waiting trials.
            ending: Conditions that end the search.
            live: Running trials by number; this handler removes those that end or wait.
            paths: Paths of the study.
            on_event: Function that receives each line for the user.
        """
        self._study = study
        self._decider = decider
        self._queue = queue
        self._ending = ending
        self._live = live
        self._paths = paths
        self._on_event = on_event
        self._metric = study.spec.metric
        self._epochs = study.spec.epochs

    def on_start(self, trial: LiveTrial, record: StartedRecord) -> Decision:
        """Record that a trainer has started or resumed a trial."""
        trial.device = record.device
        trial.starts += 1
        directory = self._paths.trial(trial.number)
        facts = TrialFacts(
            device=record.device, attempts=trial.starts, directory=str(directory), log=str(directory / LOG)
        )
        self._study.record(trial.number, facts)
        return self._unless_stopped()

    def on_epoch(self, trial: LiveTrial, record: EpochRecord) -> Decision:
        """Record an epoch of a trial, and judge the trial by it."""
        number, epoch = trial.number, record.epoch
        value, loss = metric_of(record, self._metric), total_loss(record)
        if trial.note_epoch(record, self._metric):
            self._ending.on_progress()
        if epoch == 1:
            self._decider.note_first_loss(number, loss)
        if value is not None and epoch in self._study.trial(number).curve:
            return self._unless_stopped()  # already judged at this epoch; trials that arrived later change nothing
        verdict = self._decider.report(number, epoch, value, loss)
        # A single change: if the driver dies here, the verdict and the epoch are either both recorded or both missing.
        if isinstance(verdict, Stop):
            curve = {} if value is None else {epoch: value}
            reason = f"{DIVERGED}: {verdict.reason}" if isinstance(verdict, Lost) else verdict.reason
            self._finish(trial, TrialState.PRUNED, reason=reason, curve=curve)
            return Decision.STOP
        if isinstance(verdict, Pause):
            assert value is not None
            self._pause(trial, epoch, value)
            return Decision.STOP
        if value is not None:
            self._study.record_epoch(number, epoch, value, TrialFacts(losses=dict(trial.losses)))
        if epoch < self._epochs:  # after its last epoch, a trial must become COMPLETE even if the budget is spent
            self._ending.check_budget()
        return self._unless_stopped()

    def on_end(self, trial: LiveTrial, end: EndRecord) -> None:
        """End a trial, or retry it."""
        failure = failure_of(end)
        value = self._study.trial(trial.number).curve.get(self._epochs)
        if failure is not None:
            self.on_failure(trial, failure, end.message or end.outcome.value)
        elif end.outcome == Outcome.STOPPED:  # by the tuner or by a preempted machine, which is no failure
            self.requeue(trial)
        elif end.outcome == Outcome.DIVERGED:
            self._finish(trial, TrialState.PRUNED, reason=f"{DIVERGED}: {end.message}")
        elif value is not None:
            self._finish(trial, TrialState.COMPLETE, value=value)
        else:
            self._fail(trial, Failure.BUG, f"the trainer ended without a metric for epoch {self._epochs}")

    def on_failure(self, trial: LiveTrial, failure: Failure, cause: str) -> None:
        """Retry a trial after a failed attempt, or end it."""
        self._study.check()
        problem = place_problem(self._study.spec.sources)
        if problem is not None:  # missing files are not the configuration's fault
            self._ending.stop(str(problem), problem)
            self.requeue(trial)
        elif failure == Failure.INFRASTRUCTURE and self._ending.reason is not None:
            self.requeue(trial)  # the problem that ends the search, often a full disk, does not count against the trial
        elif trial.attempts.fail(failure, cause):
            self.requeue(trial, TrialFacts(failed_attempts=tuple(trial.attempts.failed)))
            self._on_event(f"trial {trial.number} resumes from its last checkpoint: {cause}")
        elif failure == Failure.BAD_DATA:
            self._end_for_data(trial, cause)
        elif failure == Failure.OUT_OF_MEMORY:
            reason = f"{failure.value}: {cause}"
            self._finish(trial, TrialState.PRUNED, reason=reason, failure=failure, infeasible=True)
        else:
            self._fail(trial, failure, cause)

    def requeue(self, trial: LiveTrial, facts: TrialFacts = NO_FACTS) -> None:
        """Put a trial back into the queue."""
        del self._live[trial.number]
        if trial.seconds > (self._study.trial(trial.number).facts.seconds or 0.0):  # no earlier attempt got further
            facts = replace(facts, epochs=trial.epoch, seconds=round(trial.seconds, 3), gpu_share=mean_gpu_share(trial))
        self._study.interrupt(trial.number, facts)

    def _pause(self, trial: LiveTrial, epoch: int, value: float) -> None:
        del self._live[trial.number]
        self._study.pause(trial.number, epoch, value, trained(trial))
        self._on_event(f"trial {trial.number} pauses after epoch {epoch}: {self._metric} {value:.4f}")
        self._queue.end_hopeless()
        self._ending.check()

    def _end_for_data(self, trial: LiveTrial, cause: str) -> None:
        """End the search: all trials read the same data, so the trial is not at fault and can resume later."""
        self.requeue(trial)
        told = f"Trial {trial.number} cannot train on the data set: {cause}"
        self._ending.stop(f"bad data: {cause}", DataError(told))

    def _fail(self, trial: LiveTrial, failure: Failure, cause: str) -> None:
        reason = f"{failure.value}: {cause}"
        self._finish(trial, TrialState.FAIL, reason=reason, failure=failure)
        self._ending.on_failed_trial(trial.number, failure, reason)

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
        number = trial.number
        del self._live[number]
        self._study.finish(
            number,
            state,
            value=value,
            reason=reason,
            curve=curve,
            infeasible=infeasible,
            facts=replace(
                trained(trial),
                failure=None if failure is None else failure.value,
                failed_attempts=tuple(trial.attempts.failed) or None,
                judged=None if state == TrialState.FAIL else judged(self._decider.history) + 1,
            ),
        )
        self._decider.end(number, status_of(self._study.trial(number)))
        if state != TrialState.COMPLETE:
            discard_weights(self._paths.trial(number))
        told = reason if value is None else f"{self._metric} {value:.4f}"
        self._on_event(f"trial {number} {state.name.lower()}: {told}")
        self._queue.end_hopeless()
        self._ending.check()

    def _unless_stopped(self) -> Decision:
        return Decision.CONTINUE if self._ending.reason is None else Decision.STOP
