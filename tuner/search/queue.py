"""List the waiting trials of a search, and end those that will never resume."""

from collections.abc import Mapping

from optuna.trial import TrialState

from tuner.decisions.decider import Decider
from tuner.decisions.history import Status
from tuner.study import StudyPaths, StudySession, TrialRecord
from tuner.system.disk_space import discard_weights
from tuner.trials.live import LiveTrial


class TrialQueue:
    """Waiting trials of a study: interrupted, paused at a rung, or enqueued by the user."""

    def __init__(
        self,
        study: StudySession,
        decider: Decider,
        live: Mapping[int, LiveTrial],
        paths: StudyPaths,
        *,
        target: int,
    ) -> None:
        """Attach the queue to a study.

        Args:
            study: Study that is searched.
            decider: Decisions of the search.
            live: Running trials by number; the caller keeps them up to date.
            paths: Paths of the study.
            target: Number of trials that the study should have in the end.
        """
        self._study = study
        self._decider = decider
        self._live = live
        self._paths = paths
        self._target = target

    @property
    def waiting(self) -> list[TrialRecord]:
        """Waiting trials, by number."""
        return [trial for trial in self._study.trials() if trial.state == TrialState.WAITING]

    @property
    def interrupted(self) -> list[TrialRecord]:
        """Trials that were interrupted while they trained; they resume before all others."""
        return [trial for trial in self.waiting if trial.params and not trial.is_paused]

    @property
    def has_user_trial(self) -> bool:
        """True if the user has enqueued a trial, which has no parameters before it starts."""
        return any(not trial.params for trial in self.waiting)

    @property
    def has_room(self) -> bool:
        """True if a new trial can start."""
        return len(self._study.trials()) < self._target or self.has_user_trial

    @property
    def is_finished(self) -> bool:
        """True if no trial is running, waiting or still to start."""
        return not (self._live or self.waiting or len(self._study.trials()) < self._target)

    def end_hopeless(self) -> None:
        """End the paused trials that will never resume: all of them, once no trial is running and no more can start."""
        for number, reason in self._decider.hopeless().items():
            self._end(number, reason)
        if self._live or self.interrupted or self.has_room or self._decider.resumed() is not None:
            return
        for trial in self.waiting:
            if trial.is_paused:
                epoch = trial.facts.paused_at or 0
                reason = f"early stop at epoch {epoch}: {trial.curve[epoch]:.4f} was not among the best at this rung"
                self._end(trial.number, reason)

    def end_all(self, reason: str) -> None:
        """End every waiting trial that has started, unless a trial is running."""
        if self._live:
            return
        for trial in self.waiting:
            if trial.params:
                self._end(trial.number, reason)

    def _end(self, number: int, reason: str) -> None:
        self._study.finish(number, TrialState.PRUNED, reason=reason)
        self._decider.end(number, Status.STOPPED)
        discard_weights(self._paths.trial(number))
