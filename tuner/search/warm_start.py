"""What earlier studies teach a new one: their best configurations are tried first."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest

from optuna.trial import TrialState

from tuner.contract import ParamValue
from tuner.exceptions import UsageError
from tuner.space import Space, name_of
from tuner.study import ReadableStudy, TrialRecord

MOST = 5
"""Configurations that a study begins with, of all earlier studies together. On curves of other models they halve the
regret; ten are no better (docs/decisions-benchmark.md)."""


def warm_start(space: Space, earlier: Sequence[ReadableStudy]) -> tuple[dict[str, ParamValue], ...]:
    """The configurations of this space, by label, that are nearest to the best of earlier studies, the best first.

    Those studies may be about other spaces, data and models. The best of each come before the second of any; what a
    space has no words for is left out, and so are its own baseline and what occurs twice.

    Raises:
        UsageError: a study has nothing to give.
    """
    by_study = [_best(space, study) for study in earlier]
    found: list[dict[str, ParamValue]] = []
    for configuration in (one for rank in zip_longest(*by_study) for one in rank if one is not None):
        if configuration not in (space.baseline_sampled(), *found):
            found.append(configuration)
    return tuple(found[:MOST])


def _best(space: Space, study: ReadableStudy) -> list[dict[str, ParamValue]]:
    complete = [t for t in study.trials() if t.state == TrialState.COMPLETE and t.value is not None]
    if not complete:
        raise UsageError(
            f"--warm-start takes studies with trials that were trained to their end, but '{study.name}' has none; "
            "let it run on, or leave it out."
        )
    ranked = sorted(complete, key=lambda trial: (-_value(trial), trial.number))
    best = list(islice(_adapted(space, ranked), MOST + 1))  # one of them may be the baseline
    if not best:
        raise UsageError(
            f"--warm-start takes studies of like spaces, but no trial of '{study.name}' has a place in the space "
            f"'{space.name}': other optimizers, or other choices; leave it out."
        )
    return best


def _adapted(space: Space, trials: Sequence[TrialRecord]) -> Iterator[dict[str, ParamValue]]:
    adapted = (space.adapted(_values(trial)) for trial in trials)
    return (configuration for configuration in adapted if configuration is not None)


def _values(trial: TrialRecord) -> Mapping[str, ParamValue]:
    """All values of a trial by name: what the trainer was given, and what that was made of."""
    return {**trial.params, **{name_of(label): value for label, value in trial.sampled.items()}}


def _value(trial: TrialRecord) -> float:
    assert trial.value is not None
    return trial.value
