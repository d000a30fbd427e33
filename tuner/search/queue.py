"""Keep the trials of a search that wait, and end those that will never continue."""

from collections.abc import Mapping

from optuna.trial import TrialState

from tuner.decisions.decider import Decider
from tuner.decisions.history import Status
from tuner.study import PAUSED_AT, StudyPaths, StudySession, TrialRecord
from tuner.system.disk_space import discard_weights
from tuner.trials.live import LiveTrial


class TrialQueue:
    """The trials that wait, in the study: cut off while they trained, paused at a rung, or enqueued by a user."""

    def __init__(
        self,
        study: StudySession,
        decider: Decider,
        live: Mapping[int, LiveTrial],
        paths: StudyPaths,
        *,
        target: int,
    ) -> None:
        """Look at a study.

        Args:
            live: what trains now, kept up to date by others.
            target: trials that the study shall have.
        """
        self._study = study
        self._decider = decider
        self._live = live
        self._paths = paths
        self._target = target

    @property
    def waiting(self) -> list[TrialRecord]:
        """List the trials that wait, by number."""
        return [trial for trial in self._study.trials() if trial.state == TrialState.WAITING]

    @property
    def interrupted(self) -> list[TrialRecord]:
        """List the trials that were cut off while they trained: they resume before anything else."""
        return [trial for trial in self.waiting if trial.params and not trial.is_paused]

    @property
    def has_user_trial(self) -> bool:
        """Whether a user has enqueued a trial, which has no parameters before it begins."""
        return any(not trial.params for trial in self.waiting)

    @property
    def has_room(self) -> bool:
        """Whether a new trial can begin."""
        return len(self._study.trials()) < self._target or self.has_user_trial

    @property
    def is_finished(self) -> bool:
        """Whether nothing trains, waits or can begin."""
        return not (self._live or self.waiting or len(self._study.trials()) < self._target)

    def end_hopeless(self) -> None:
        """End the paused trials that will never continue: all of them, once nothing trains and nothing more begins."""
        for number, reason in self._decider.hopeless().items():
            self._end(number, reason)
        if self._live or self.interrupted or self.has_room or self._decider.resumed() is not None:
            return
        for trial in self.waiting:
            if trial.is_paused:
                epoch = trial.attributes[PAUSED_AT]
                reason = f"early stop at epoch {epoch}: {trial.curve[epoch]:.4f} was not among the best at this rung"
                self._end(trial.number, reason)

    def end_all(self, reason: str) -> None:
        """End every trial that has begun and waits, unless something trains."""
        if self._live:
            return
        for trial in self.waiting:
            if trial.params:
                self._end(trial.number, reason)

    def _end(self, number: int, reason: str) -> None:
        self._study.finish(number, TrialState.PRUNED, reason=reason)
        self._decider.end(number, Status.STOPPED)
        discard_weights(self._paths.trial(number))
