"""Which Optuna sampler proposes the next configuration, and how it is set up.

A sampler is made anew for every proposal and seeded from the study's seed and the trial's number. So a
proposal is a function of seed, number and the study's record alone, no sampler state is kept anywhere, and a
search that was interrupted goes on as if it had not been.
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
"""The sampler that is not Optuna's but the search's own."""

MOST_TRIALS_FOR_GP = 100
"""Beyond these a Gaussian process takes seconds a proposal and gains nothing over TPE."""

_PACKAGES = {"gp": ("scipy", "torch"), "cmaes": ("cmaes",)}
"""What Optuna imports by itself once such a sampler is used."""


def make_sampler(name: str, *, seed: int, number: int, space: Space, limits: MemoryLimits | None = None) -> BaseSampler:
    """The sampler for one proposal: set it on the study, ask, and throw it away.

    tpe: multivariate, so that parameters are chosen together; learns from trials stopped early, too, which it
    ranks by the epoch they reached and then by their value. gp: a Gaussian process; learns from trials that ran
    to their end only, and may propose the others again. cmaes: an evolution strategy; choices and conditional
    parameters come from TPE. random: the yardstick.

    Args:
        name: "tpe", "gp", "cmaes" or "random".
        seed: the study's.
        number: the trial's, which need not exist yet.
        space: what is searched; its `settings.trials` is the budget.
        limits: what must not be proposed because memory has no room for it; none where nothing is known of that.

    Raises:
        MachineError: a package that the sampler needs is not installed.
    """
    require_packages(name)
    trial_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    with warnings.catch_warnings():
        # Optuna calls grouping and margins experimental; the version is pinned, so they cannot change unseen.
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = _made(name, trial_seed, space)
    return WithinMemory(sampler, space, limits) if limits is not None and limits.too_large else sampler


def require_packages(name: str) -> None:
    """Refuse a sampler that cannot be made on this machine.

    Raises:
        MachineError: a package that the sampler needs is not installed.
    """
    missing = _missing_packages(name)
    if missing:
        raise MachineError(
            f"The sampler {name} needs {' and '.join(missing)}, which cannot be imported here; "
            f"install {'it' if len(missing) == 1 else 'them'}, or search with the sampler tpe."
        )


def chosen_sampler(space: Space) -> str:
    """The sampler that a space asks for: "auto" becomes model, gp or tpe, others stay.

    The strategy auto has a model of its own, which learns from all trials (`tuner.decisions.proposers`). For the other
    strategies, a Gaussian process is the better choice for few trials of real or whole numbers. It learns nothing from
    trials stopped early and nothing across conditions, so auto means gp only where there are no rungs, no
    conditions, no choices, at most 100 trials, and its packages are installed; tpe otherwise.
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
    # Looked up, not imported: this package never loads torch.
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
                # Where most trials are stopped early, the others alone would not fill a generation.
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
        # Conditional parameters are modelled within the trials that have them.
        group=True,
        # Running trials count as bad ones, so that parallel proposals keep apart.
        constant_liar=True,
    )


def _num_random_trials(trials: int) -> int:
    """How many results a model waits for: a quarter of a small budget, never more than ten."""
    return max(4, min(10, trials // 4))


def _has_discrete_ranges(space: Space) -> bool:
    return any(
        not isinstance(p, ChoiceParameter) and not (isinstance(p, FloatParameter) and p.step is None)
        for p in space.searched
    )


class WithinMemory(BaseSampler):
    """Another sampler, whose sizes are sampled anew where memory is known to have no room for them."""

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
        # What is left out is sampled alone, below. Asked again, a Gaussian process would say the same, and take long.
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
        # A size that is not chosen yet can still become the smallest, and no smaller than that.
        return self._limits.exclude({**self._smallest, **{name_of(label): value for label, value in sampled.items()}})


def _smallest(distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return min(distribution.choices)  # type: ignore[type-var]  # sizes are numbers
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low
