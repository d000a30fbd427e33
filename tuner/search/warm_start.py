"""Start a study with the best configurations of earlier studies."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, zip_longest

from optuna.trial import TrialState

from tuner.contract import ParamValue
from tuner.exceptions import UsageError
from tuner.space import Space, name_of
from tuner.study import ReadableStudy, TrialRecord

MOST = 5
"""Maximum number of configurations that a study takes from all earlier studies together. On curves of other models they
halve the regret; ten are no better (docs/decisions-benchmark.md)."""


def warm_start(space: Space, earlier: Sequence[ReadableStudy]) -> tuple[dict[str, ParamValue], ...]:
    """Return the configurations of this space, by label, that are nearest to the best of earlier studies, best first.

    The earlier studies can have other spaces, data and models. The best of every study come before the second best of
    any. The result leaves out configurations that the space cannot express, its own baseline, and duplicates.

    Raises:
        UsageError: A study has no suitable trial.
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
            f"--warm-start takes studies with complete trials, but '{study.name}' has none; "
            "continue it first, or leave it out."
        )
    ranked = sorted(complete, key=lambda trial: (-_value(trial), trial.number))
    best = list(islice(_adapted(space, ranked), MOST + 1))  # one of them may be the baseline
    if not best:
        raise UsageError(
            f"--warm-start takes studies of similar spaces, but no trial of '{study.name}' fits into the space "
            f"'{space.name}': other optimizers, or other choices; leave it out."
        )
    return best


def _adapted(space: Space, trials: Sequence[TrialRecord]) -> Iterator[dict[str, ParamValue]]:
    adapted = (space.adapted(_values(trial)) for trial in trials)
    return (configuration for configuration in adapted if configuration is not None)


def _values(trial: TrialRecord) -> Mapping[str, ParamValue]:
    """Return all values of a trial by name: the parameters of the trainer and the sampled values behind them."""
    return {**trial.params, **{name_of(label): value for label, value in trial.sampled.items()}}


def _value(trial: TrialRecord) -> float:
    assert trial.value is not None
    return trial.value
