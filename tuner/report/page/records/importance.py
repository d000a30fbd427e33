"""Estimate which parameters the best trials owe their rank to, with PED-ANOVA.

PED-ANOVA compares the values of the best trials with those of all trials, for each parameter alone. It needs only the
ranks of the trials, so trials that were stopped early count too; it handles conditional parameters, which fANOVA of
Optuna leaves out; and it needs no regression model, which a few dozen trials could not support.
"""

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.trial import TrialState

from tuner.report.page.records.parameters import Axis
from tuner.report.page.records.subject import Subject
from tuner.study import TrialRecord
from tuner.trials.live import DIVERGED

ENOUGH_COMPLETE = 20
"""Number of complete trials below which a ranking of the parameters is only a hint."""
_BEST_SHARE = 0.1
_FEWEST_BEST = 5
"""Number of best trials that PED-ANOVA needs at least, according to Optuna."""
FEWEST_RANKED = 2 * _FEWEST_BEST
"""Number of trials below which these would be more than half of all, and a comparison would say nothing."""
_SHUFFLES = 20
_CHANCE_QUANTILE = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterImportance:
    """Importance of one parameter."""

    label: str
    share: float
    """Importance as a share of the sum over all parameters, 0..1."""
    by_chance: float
    """Importance, in the same unit, that a parameter without any effect exceeds in one of ten cases."""

    @property
    def stands_out(self) -> bool:
        """True if the importance is larger than chance explains."""
        return self.share > self.by_chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Importance of all parameters, the largest first."""

    parameters: tuple[ParameterImportance, ...]
    ranked: int
    """Number of trials that were compared."""
    best: int
    """Number of best trials among them."""
    complete: int
    """Number of trials that ran to the last epoch."""


def importance_of(subject: Subject, trials: Sequence[TrialRecord], axes: Sequence[Axis]) -> Importance | None:
    """Return the importance of the parameters; None if there are too few trials or parameters to compare.

    Trials are ranked by the last epoch that they reached in the search, then by their value there. Diverged trials rank
    last. Failed trials and the default configuration, which is never stopped, do not count.
    """
    ranked = _ranked(subject, trials)
    if len(ranked) < FEWEST_RANKED or not axes:
        return None
    share = max(_BEST_SHARE, _FEWEST_BEST / len(ranked))
    ranks = list(range(len(ranked)))
    evaluate = _Evaluator(ranked, axes, share)
    raw = evaluate(ranks)
    total = math.fsum(raw.values())
    if not total:
        return None
    chance = _by_chance(evaluate, ranks)
    parameters = (
        ParameterImportance(label=label, share=value / total, by_chance=chance[label] / total)
        for label, value in raw.items()
    )
    return Importance(
        parameters=tuple(sorted(parameters, key=lambda each: -each.share)),
        ranked=len(ranked),
        best=math.ceil(share * len(ranked)),
        complete=sum(trial.state == TrialState.COMPLETE for trial in trials),
    )


def _last_value(trial: TrialRecord) -> float | None:
    """Return the last finite value of a trial: at its last epoch, or where the search stopped or paused it."""
    values = [trial.curve[epoch] for epoch in sorted(trial.curve)]
    values += [] if trial.value is None else [trial.value]
    finite = [value for value in values if math.isfinite(value)]
    return finite[-1] if finite else None


def _ranked(subject: Subject, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that can be compared, the best first."""
    sign = 1 if subject.maximised else -1
    judged = [t for t in trials if t.state not in (TrialState.FAIL, TrialState.RUNNING) and t.number != subject.default]

    def rank(trial: TrialRecord) -> tuple[float, float]:
        value = _last_value(trial)
        if trial.reason.startswith(DIVERGED) or value is None:
            return -math.inf, 0.0
        reached = math.inf if trial.state == TrialState.COMPLETE else float(max(trial.curve, default=0))
        return reached, sign * value

    with_values = [t for t in judged if _last_value(t) is not None or t.reason.startswith(DIVERGED)]
    return sorted(with_values, key=rank, reverse=True)


class _Evaluator:
    """Function from the ranks of the trials to the importance of each parameter, in PED-ANOVA's own unit."""

    def __init__(self, ranked: Sequence[TrialRecord], axes: Sequence[Axis], share: float) -> None:
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator

        labels = {label for trial in ranked for label in trial.sampled}
        ranges = {axis.label: axis.distribution() for axis in axes if axis.label in labels}
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # a study in memory is nobody's news
        self._study = optuna.create_study()
        optuna.logging.set_verbosity(verbosity)
        for trial in ranked:
            params = {label: value for label, value in trial.sampled.items() if label in ranges}
            self._study.add_trial(
                optuna.create_trial(value=0.0, params=params, distributions={label: ranges[label] for label in params})
            )
        self._evaluator = PedAnovaImportanceEvaluator(target_quantile=share)

    def __call__(self, ranks: Sequence[int]) -> dict[str, float]:
        with warnings.catch_warnings():
            # It says that low targets are good, which ranks are, and that variants with one trial are left out.
            warnings.simplefilter("ignore")
            return self._evaluator.evaluate(self._study, target=lambda trial: float(ranks[trial.number]))


def _by_chance(evaluate: _Evaluator, ranks: Sequence[int]) -> Mapping[str, float]:
    """Return the importance of each parameter if the ranks had nothing to do with its values."""
    chance = random.Random(0)  # the same study always gives the same page
    drawn = [evaluate(chance.sample(ranks, len(ranks))) for _ in range(_SHUFFLES)]
    place = round(_CHANCE_QUANTILE * (_SHUFFLES - 1))
    return {label: sorted(each[label] for each in drawn)[place] for label in drawn[0]}
