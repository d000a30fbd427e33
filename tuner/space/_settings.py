"""How long, how often and by what measure a space is searched."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

from tuner.contract import METRICS
from tuner.exceptions import SpaceError
from tuner.space._arguments import nearest, shown

STRATEGIES = ("auto", "asha-promotion", "asha-stopping")
SAMPLERS = ("auto", "model", "tpe", "gp", "cmaes", "random")
MAX_SEED = 2**31 - 1

_RUNG_RATIO = 3
"""Of a rung to the one before."""
WARM_UP_EPOCHS = 3
"""By default nobody is judged so early: ultralytics' learning rates still rise, and a detector that is trained from
scratch has found next to nothing."""


def default_rungs(epochs: int, *, after: int = WARM_UP_EPOCHS) -> tuple[int, ...]:
    """Where to compare trials of this length when nobody says: at 1/18, 1/6 and 1/2 of it, what comes after `after`.

    Chosen on recorded curves: docs/decisions-benchmark.md, "Variants we tried".
    """
    places = sorted({round(epochs / 2 / _RUNG_RATIO**power) for power in (2, 1, 0)})
    return tuple(place for place in places if after < place < epochs)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """The `search` part of a space.

    Raises:
        SpaceError: a value breaks a rule, alone or beside the others.
    """

    epochs: int = 50
    """Length of every trial's learning-rate schedule, and the most that a trial trains."""
    grace_epochs: int | None = None
    """The first rung, with others at 3, 9, 27, ... times as many epochs; none for `default_rungs`."""
    rungs: tuple[int, ...] | None = None
    """The epochs at which trials are compared, in the place of `grace_epochs`."""
    reduction_factor: int = 4
    """One trial of so many goes on at each rung."""
    trials: int = 40
    """How many configurations are tried, the baseline among them."""
    strategy: str = "auto"
    """Who goes on at a rung (`tuner.decisions.strategies`)."""
    sampler: str = "auto"
    """Who proposes; auto for the strategy's own."""
    seed: int = 0
    metric: str = METRICS[0]
    reevaluation_runs: int | None = None
    """The most runs that go into comparing the best with the baseline on other seeds; 0 for no comparison, none for a
    quarter of what the search has trained (`tuner.comparison.reevaluation`)."""
    promote_epochs: int = 300
    """Length of the winner's full training run."""

    def __post_init__(self) -> None:
        found = setting_problems({f.name: getattr(self, f.name) for f in fields(self)})
        if found:
            raise SpaceError("\n".join(text for _, text in found))

    @property
    def rung_epochs(self) -> tuple[int, ...]:
        """The epochs below `epochs` at which trials are compared; empty where none is stopped early."""
        if self.rungs is not None:
            return tuple(rung for rung in self.rungs if rung < self.epochs)
        if self.grace_epochs is None:
            return default_rungs(self.epochs)
        rungs = []
        rung = self.grace_epochs
        while rung < self.epochs:
            rungs.append(rung)
            rung *= _RUNG_RATIO
        return tuple(rungs)

    def canonical(self) -> dict[str, object]:
        """What may not change while a study goes on, for JSON: more trials, another sampler or strategy may."""
        return {
            "epochs": self.epochs,
            "rungs": list(self.rung_epochs),
            "reduction_factor": self.reduction_factor,
            "metric": self.metric,
            "seed": self.seed,
        }


SETTING_NAMES = tuple(f.name for f in fields(SearchSettings))
DEFAULT_SETTINGS: Mapping[str, object] = {f.name: f.default for f in fields(SearchSettings)}
_LOWEST = {"epochs": 1, "grace_epochs": 1, "reduction_factor": 2, "trials": 1, "seed": 0, "promote_epochs": 1}
_LEAST_RUNS = 6
"""Two configurations on three seeds: with fewer nothing could be said of them."""
_OPTIONAL = frozenset({"grace_epochs", "rungs", "reevaluation_runs"})


def setting_problems(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """What is wrong with these settings, as (setting, text); missing settings count as the defaults."""
    settings = {**DEFAULT_SETTINGS, **values}
    alone = [
        (name, text)
        for name in SETTING_NAMES
        if not (name in _OPTIONAL and settings[name] is None)
        for text in _problems_alone(name, settings[name])
    ]
    return alone or _problems_together(settings)


def _problems_alone(name: str, value: object) -> list[str]:
    if name in _LOWEST:
        return _whole_number_problems(name, value, _LOWEST[name])
    if name == "reevaluation_runs":
        return _runs_problems(value)
    if name == "rungs":
        return _rungs_problems(value)
    return _name_problems(name, value, {"sampler": SAMPLERS, "strategy": STRATEGIES}.get(name, METRICS))


def _whole_number_problems(name: str, value: object, lowest: int) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"`{name}` takes a whole number, but got {shown(value)}; write {max(lowest, 2)} or more"]
    if value < lowest:
        return [f"`{name}` must be at least {lowest}, but got {value}; write {lowest} or more"]
    if value > MAX_SEED:
        return [f"`{name}` must be at most {MAX_SEED}, but got {value}; write a smaller number"]
    return []


def _runs_problems(value: object) -> list[str]:
    found = _whole_number_problems("reevaluation_runs", value, 0)
    if found or value == 0 or (isinstance(value, int) and value >= _LEAST_RUNS):
        return found
    return [f"`reevaluation_runs` must be 0 or at least {_LEAST_RUNS}, but got {value}; write {_LEAST_RUNS} or more"]


def _rungs_problems(value: object) -> list[str]:
    example = "write whole numbers that rise, such as [10, 30]"
    if not isinstance(value, tuple) or any(isinstance(r, bool) or not isinstance(r, int) for r in value):
        given = list(value) if isinstance(value, tuple) else value
        return [f"`rungs` takes a list of epochs, but got {shown(given)}; {example}"]
    if any(rung < 1 for rung in value) or any(a >= b for a, b in pairwise(value)):
        return [f"`rungs` must begin at 1 or later and rise, but got {list(value)}; {example}"]
    return []


def _name_problems(name: str, value: object, allowed: tuple[str, ...]) -> list[str]:
    if value in allowed:
        return []
    text = f"`{name}` must be one of {', '.join(allowed)}, but got {shown(value)}"
    near = nearest(str(value), allowed)
    return [f"{text}; did you mean {near}?" if near else f"{text}; choose one of them"]


def _problems_together(settings: Mapping[str, object]) -> list[tuple[str, str]]:
    epochs, grace, rungs = settings["epochs"], settings["grace_epochs"], settings["rungs"]
    assert isinstance(epochs, int)
    if grace is not None and rungs is not None:
        return [("rungs", "`rungs` and `grace_epochs` exclude each other, but both are given; leave one out")]
    if isinstance(grace, int) and grace > epochs:
        return [
            (
                "grace_epochs",
                f"`grace_epochs` must not exceed `epochs`, but got {grace} with epochs={epochs}; "
                f"lower it to {epochs} or train longer",
            )
        ]
    if isinstance(rungs, tuple) and rungs and rungs[-1] > epochs:
        return [
            (
                "rungs",
                f"`rungs` must not exceed `epochs`, but got {rungs[-1]} with epochs={epochs}; "
                "leave it out or train longer",
            )
        ]
    return []
