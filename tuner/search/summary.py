"""Sum up the failures of a search."""

from collections import Counter
from collections.abc import Sequence

from optuna.trial import TrialState

from tuner.study import TrialRecord


def failures_by_cause(trials: Sequence[TrialRecord]) -> Counter[str]:
    """Count the failed trials for each cause."""
    return Counter(trial.reason for trial in trials if trial.state == TrialState.FAIL)
