"""Start a study with configurations from elsewhere: the best of earlier studies, or of files.

Their values were measured on other data, models or lengths, so they are no results: the configurations are tried first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from optuna.trial import TrialState

from tuner.contract import ParamValue
from tuner.exceptions import UsageError
from tuner.space import Space, UnfitError, name_of
from tuner.study import ReadableStudy, TrialRecord

MOST = 5
"""Maximum number of configurations that a study takes from all sources together. On curves of other models they
halve the regret; ten are no better (docs/decisions-benchmark.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Configuration from elsewhere."""

    values: Mapping[str, ParamValue]
    """All its values by name: parameters of the trainer, and sampled values behind them."""
    origin: str = ""
    """Where it was found and how good it was there, for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Earlier study or file with configurations."""

    name: str
    ranked: tuple[Candidate, ...]
    """The best first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Clipped:
    """Value that was replaced by the nearest one of the space."""

    name: str
    given: ParamValue
    taken: ParamValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Configuration that a study tries first."""

    configuration: Mapping[str, ParamValue]
    """Values of the space's searched parameters, by label."""
    candidate: Candidate
    clipped: tuple[Clipped, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """Configuration that the space cannot express."""

    candidate: Candidate
    reason: str


def source_of(study: ReadableStudy) -> Source:
    """Rank the complete trials of a study.

    Raises:
        UsageError: There is none.
    """
    complete = [t for t in study.trials() if t.state == TrialState.COMPLETE and t.value is not None]
    if not complete:
        raise UsageError(
            f"--warm-start takes studies with complete trials, but '{study.name}' has none; "
            "continue it first, or leave it out."
        )
    ranked = sorted(complete, key=lambda trial: (-_value(trial), trial.number))
    return Source(name=study.name, ranked=tuple(Candidate(values=_values(trial)) for trial in ranked))


def warm_start(space: Space, sources: Sequence[Source]) -> tuple[Start, ...]:
    """Return the configurations of a space that are nearest to the best of the sources, best first.

    The sources can be about other spaces, data and models, so the best of every source come before the second best of
    any. The result leaves out configurations that the space cannot express, its own baseline, and duplicates.

    Raises:
        UsageError: No configuration of a source fits into the space.
    """
    found: list[Start] = []
    known = [space.baseline_sampled()]
    for start in (one for rank in zip_longest(*(_starts(space, source) for source in sources)) for one in rank if one):
        if start.configuration not in known:
            known.append(dict(start.configuration))
            found.append(start)
    return tuple(found[:MOST])


def fit(space: Space, candidate: Candidate) -> Start | Misfit:
    """Find the configuration of a space that is nearest to a candidate."""
    try:
        configuration = space.nearest(candidate.values)
    except UnfitError as unfit:
        return Misfit(candidate=candidate, reason=str(unfit))
    clipped = tuple(
        Clipped(name=name, given=candidate.values[name], taken=taken)
        for name, taken in ((name_of(label), taken) for label, taken in configuration.items())
        if name in candidate.values and candidate.values[name] != taken
    )
    return Start(configuration=configuration, candidate=candidate, clipped=clipped)


def _starts(space: Space, source: Source) -> list[Start]:
    fits = [fit(space, candidate) for candidate in source.ranked]
    starts = [each for each in fits if isinstance(each, Start)]
    if not starts:
        reason = next(each.reason for each in fits if isinstance(each, Misfit))
        raise UsageError(
            f"--warm-start takes configurations of similar spaces, but none of '{source.name}' fits into the space "
            f"'{space.name}': {reason}; leave it out."
        )
    return starts


def _values(trial: TrialRecord) -> Mapping[str, ParamValue]:
    return {**trial.params, **{name_of(label): value for label, value in trial.sampled.items()}}


def _value(trial: TrialRecord) -> float:
    assert trial.value is not None
    return trial.value
