"""Choose and set up the Optuna sampler that proposes the next configuration.

Each proposal uses a new sampler, seeded from the study's seed and the trial's number. So a proposal depends only on the
seed, the number and the study's record. No sampler state is stored, and an interrupted search resumes as if it had
never stopped.
"""

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from tuner.exceptions import MachineError
from tuner.memory.limits import BATCH, IMGSZ, MemoryLimits, smallest_sizes
from tuner.space import ChoiceParameter, FloatParameter, Space, name_of

MODEL = "model"
"""Name of the search's own model, the only sampler that is not from Optuna."""

MOST_TRIALS_FOR_GP = 100
"""Maximum number of trials for a Gaussian process; above it, a proposal takes seconds and is no better than TPE's."""

_PACKAGES = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",)}
"""Packages that Optuna imports when a sampler is used."""


def make_sampler(name: str, *, seed: int, number: int, space: Space, limits: MemoryLimits | None = None) -> BaseSampler:
    """Create the sampler for one proposal: set it on the study, ask, and discard it.

    tpe: multivariate, chooses parameters jointly; also learns from trials stopped early, which it ranks by the epoch
    they reached and then by their value. gp: a Gaussian process; learns only from trials that ran to the last epoch,
    and can propose the others again. cmaes: an evolution strategy; choices and conditional parameters come from TPE.
    random: the reference for comparisons.

    Args:
        name: "tpe", "gp", "cmaes" or "random".
        seed: Seed of the study.
        number: Number of the trial, which need not exist yet.
        space: Search space; its `settings.trials` is the budget.
        limits: Sizes that must not be proposed because they do not fit into memory; None if none are known.

    Raises:
        MachineError: A package that the sampler needs is not installed.
    """
    require_packages(name)
    trial_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    with warnings.catch_warnings():
        # Optuna calls grouping and margins experimental; the version is pinned, so they cannot change unseen.
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = _made(name, trial_seed, space)
    return WithinMemory(sampler, space, limits) if limits is not None and limits.too_large else sampler


def require_packages(name: str) -> None:
    """Check that the packages of a sampler are installed.

    Raises:
        MachineError: A package that the sampler needs is not installed.
    """
    missing = _missing_packages(name)
    if missing:
        raise MachineError(
            f"The sampler {name} needs {' and '.join(missing)}, which cannot be imported; "
            f"install {'it' if len(missing) == 1 else 'them'}, or search with the sampler tpe."
        )


def chosen_sampler(space: Space) -> str:
    """Return the sampler that a space asks for, with "auto" replaced by model, gp or tpe.

    The strategy auto has its own model, which learns from all trials (`tuner.decisions.proposers`). For the other
    strategies, a Gaussian process is the better choice for few trials of real or whole numbers. It learns nothing from
    trials stopped early and nothing across conditions, so auto means gp only if there are no rungs, no conditions, no
    choices and at most 100 trials, and its packages are installed. Otherwise it means tpe.
    """
    name = space.settings.sampler
    if name != "auto":
        return name
    if space.settings.strategy == "auto":
        return MODEL
    suits_gp = (
        not space.settings.rung_epochs
        and space.settings.trials <= MOST_TRIALS_FOR_GP
        and not any(p.when or isinstance(p, ChoiceParameter) for p in space.searched)
        and not _missing_packages("gp")
    )
    return "gp" if suits_gp else "tpe"


def _missing_packages(sampler: str) -> list[str]:
    # Look the packages up without importing them: this process must not load torch.
    return [name for name in _PACKAGES.get(sampler, ()) if importlib.util.find_spec(name) is None]


def _made(name: str, seed: int, space: Space) -> BaseSampler:
    num_random = _num_random_trials(space.settings.trials)
    match name:
        case "random":
            return RandomSampler(seed=seed)
        case "gp":
            return GPSampler(
                seed=seed,
                n_startup_trials=num_random,
                independent_sampler=_tpe(seed, num_random),
                warn_independent_sampling=False,
            )
        case "cmaes":
            return CmaEsSampler(
                seed=seed,
                n_startup_trials=num_random,
                independent_sampler=_tpe(seed, num_random),
                warn_independent_sampling=False,
                # If most trials are stopped early, the complete ones alone do not fill a generation.
                consider_pruned_trials=bool(space.settings.rung_epochs),
                with_margin=_has_discrete_ranges(space),
            )
        case _:
            return _tpe(seed, num_random)


def _tpe(seed: int, num_random: int) -> TPESampler:
    return TPESampler(
        seed=seed,
        n_startup_trials=num_random,
        multivariate=True,
        # Model conditional parameters only on the trials that have them.
        group=True,
        # Count running trials as bad ones, so that parallel proposals differ.
        constant_liar=True,
    )


def _num_random_trials(trials: int) -> int:
    """Return the number of random trials before a model proposes: a quarter of the budget, clipped to 4..10."""
    return max(4, min(10, trials // 4))


def _has_discrete_ranges(space: Space) -> bool:
    return any(
        not isinstance(p, ChoiceParameter) and not (isinstance(p, FloatParameter) and p.step is None)
        for p in space.searched
    )


class WithinMemory(BaseSampler):
    """Wrapper of a sampler that resamples the sizes if they are known not to fit into memory."""

    _MAX_TRIES = 20

    def __init__(self, sampler: BaseSampler, space: Space, limits: MemoryLimits) -> None:
        self._sampler = sampler
        self._limits = limits
        self._smallest = smallest_sizes(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        proposed = self._sampler.sample_relative(study, trial, search_space)
        if not self._excluded(proposed):
            return proposed
        # `sample_independent` samples what is left out here. A Gaussian process would repeat its answer, and slowly.
        return {label: value for label, value in proposed.items() if name_of(label) not in (BATCH, IMGSZ)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        if name_of(param_name) not in (BATCH, IMGSZ):
            return value
        for _ in range(self._MAX_TRIES):
            if not self._excluded({**trial.params, param_name: value}):
                return value
            value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        return _smallest(param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def _excluded(self, sampled: Mapping[str, Any]) -> bool:
        # A size that is not chosen yet can still become the smallest one.
        return self._limits.exclude({**self._smallest, **{name_of(label): value for label, value in sampled.items()}})


def _smallest(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return min(distribution.choices)  # type: ignore[type-var]  # sizes are numbers
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low
