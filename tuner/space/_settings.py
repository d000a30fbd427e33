"""Settings of a search: length, number of trials, metric, rungs and strategy."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

from tuner.contract import METRICS
from tuner.exceptions import SpaceError
from tuner.space._arguments import nearest, shown
from tuner.space._start_points import StartPoint

STRATEGIES = ("auto", "asha-promotion", "asha-stopping")
SAMPLERS = ("auto", "model", "tpe", "gp", "cmaes", "random")
TRACKERS = ("tensorboard", "mlflow", "wandb")
MAX_SEED = 2**31 - 1

_RUNG_RATIO = 3
"""Ratio of a rung to the previous rung."""
WARM_UP_EPOCHS = 3
"""Epochs without comparison by default: ultralytics' learning rates still rise, and a detector trained from scratch
has found next to nothing."""


def default_rungs(epochs: int, *, warm_up: int = WARM_UP_EPOCHS) -> tuple[int, ...]:
    """Return the default rungs for trials of this length: 1/27, 1/9 and 1/3 of it, but none before epoch `warm_up`.

    Chosen on recorded curves: docs/decisions-benchmark.md, "Variants we tried".
    """
    places = sorted({round(epochs / _RUNG_RATIO**power) for power in (3, 2, 1)})
    return tuple(place for place in places if max(warm_up, 1) <= place < epochs)


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchSettings:
    """The `search` part of a space.

    Raises:
        SpaceError: a value breaks a rule, alone or together with the others.
    """

    epochs: int = 50
    """Length of every trial's learning rate schedule, and maximum epochs of a trial."""
    grace_epochs: int | None = None
    """First rung, with further rungs at 3, 9, 27, ... times as many epochs; None for `default_rungs`."""
    rungs: tuple[int, ...] | None = None
    """Epochs at which trials are compared, instead of `grace_epochs`."""
    reduction_factor: int = 4
    """At each rung one in this many trials continues."""
    trials: int = 40
    """Number of configurations, including the baseline."""
    strategy: str = "auto"
    """Strategy that selects the trials to continue at a rung (`tuner.decisions.strategies`)."""
    sampler: str = "auto"
    """Sampler that proposes configurations; auto for the default of the strategy."""
    seed: int = 0
    metric: str = METRICS[0]
    reevaluation_runs: int | None = None
    """Maximum number of re-evaluation runs, which compare the best with the baseline on other seeds; 0 for no
    comparison, None for a quarter of the search's training (`tuner.comparison.reevaluation`)."""
    promote_epochs: int = 300
    """Epochs of the final run."""
    promote_deterministic: bool | None = None
    """Value of `deterministic` in the final run; None for that of the trials."""
    start_points: tuple[StartPoint, ...] = ()
    """Configurations to try after the baseline, as far as the number of trials allows (`tuner.search.start_points`)."""

    def __post_init__(self) -> None:
        found = setting_problems({f.name: getattr(self, f.name) for f in fields(self)})
        if found:
            raise SpaceError("\n".join(text for _, text in found))

    @property
    def has_default_rungs(self) -> bool:
        """True if the rungs are left to `default_rungs`."""
        return self.rungs is None and self.grace_epochs is None

    @property
    def rung_epochs(self) -> tuple[int, ...]:
        """Epochs below `epochs` at which trials are compared; empty if no trial is stopped early."""
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
        """Return the settings that a study cannot change, for JSON; trials, sampler, strategy, ... may change."""
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
"""Minimum number of re-evaluation runs: two configurations on three seeds; fewer allow no conclusion."""
_OPTIONAL = frozenset({"grace_epochs", "rungs", "reevaluation_runs", "promote_deterministic"})


def setting_problems(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """List the problems of settings as (setting, text); missing settings have their defaults."""
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
    if name == "promote_deterministic":
        return _truth_problems(name, value)
    if name == "rungs":
        return _rungs_problems(value)
    if name == "start_points":
        return []  # checked when they are read
    return _name_problems(name, value, {"sampler": SAMPLERS, "strategy": STRATEGIES}.get(name, METRICS))


def _whole_number_problems(name: str, value: object, lowest: int) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"`{name}` takes a whole number, but got {shown(value)}; write {max(lowest, 2)} or more"]
    if value < lowest:
        return [f"`{name}` must be at least {lowest}, but got {value}; write {lowest} or more"]
    if value > MAX_SEED:
        return [f"`{name}` must be at most {MAX_SEED}, but got {value}; write a smaller number"]
    return []


def _truth_problems(name: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return []
    return [f"`{name}` takes true or false, but got {shown(value)}; write true or false without quotes"]


def _runs_problems(value: object) -> list[str]:
    found = _whole_number_problems("reevaluation_runs", value, 0)
    if found or value == 0 or (isinstance(value, int) and value >= _LEAST_RUNS):
        return found
    return [f"`reevaluation_runs` must be 0 or at least {_LEAST_RUNS}, but got {value}; write {_LEAST_RUNS} or more"]


def _rungs_problems(value: object) -> list[str]:
    example = "write increasing whole numbers, such as [10, 30]"
    if not isinstance(value, tuple) or any(isinstance(r, bool) or not isinstance(r, int) for r in value):
        given = list(value) if isinstance(value, tuple) else value
        return [f"`rungs` takes a list of epochs, but got {shown(given)}; {example}"]
    if any(rung < 1 for rung in value) or any(a >= b for a, b in pairwise(value)):
        return [f"`rungs` must start at 1 or later and increase, but got {list(value)}; {example}"]
    return []


def _name_problems(name: str, value: object, allowed: tuple[str, ...]) -> list[str]:
    if value in allowed:
        return []
    text = f"`{name}` must be one of {', '.join(allowed)}, but got {shown(value)}"
    near = nearest(str(value), allowed)
    return [f"{text}; did you mean {near}?" if near else f"{text}; choose one of them"]


def tracker_problem(name: object, allowed: tuple[str, ...] = TRACKERS) -> str:
    """Return why a name is not that of a tracker, without the setting; "" if it is."""
    if name in allowed:
        return ""
    near = nearest(str(name), allowed)
    remedy = f"did you mean {near}?" if near else "choose one of them"
    return f"must be one of {', '.join(allowed)}, but got {shown(name)}; {remedy}"


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
                "remove it or train longer",
            )
        ]
    return []
