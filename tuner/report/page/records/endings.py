"""Count the trials by their ending."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from tuner.study import TrialRecord
from tuner.trials.live import DIVERGED


@dataclass(frozen=True, kw_only=True, slots=True)
class EndingCount:
    """Number of trials with the same ending."""

    ending: str
    trials: int


def endings(trials: Sequence[TrialRecord]) -> tuple[EndingCount, ...]:
    """Count the trials by their ending, the most frequent first."""
    counts = Counter(ending_of(trial) for trial in trials)
    return tuple(EndingCount(ending=ending, trials=number) for ending, number in counts.most_common())


def ending_of(trial: TrialRecord) -> str:
    """Return how a trial ended, in a few words that many trials share."""
    if trial.state == TrialState.COMPLETE:
        return "complete"
    if trial.state == TrialState.FAIL:
        return f"failed: {trial.facts.failure or 'error'}"
    if trial.state == TrialState.RUNNING:
        return "running"
    if trial.state == TrialState.WAITING:
        return f"paused at epoch {trial.facts.paused_at}" if trial.is_paused else "waiting"
    if trial.reason.startswith(DIVERGED):
        return DIVERGED
    if trial.facts.failure:
        return f"stopped: {trial.facts.failure}"
    return f"stopped at epoch {max(trial.curve)}" if trial.curve else "stopped"
