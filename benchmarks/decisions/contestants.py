"""Who takes part: the searches by name, and where each of them can be imported."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from tuner.simulation.replay import Pool, Tuner
from tuner.simulation.tables import CurveTable

Factory = Callable[[CurveTable, Pool, int, int], Tuner]
"""(table, its free rows, seed, workers) to a search that has not begun."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Where a search comes from."""

    module: str
    """Its `METHODS` has the factory, by the contestant's name."""
    environment: str | None = None
    """One of `benchmarks.decisions.environments`; none for the project's own."""


def _peer(module: str, environment: str | None = None) -> Contestant:
    return Contestant(f"benchmarks.decisions.peers.{module}", environment)


CONTESTANTS: dict[str, Contestant] = {
    # Ours.
    "auto": Contestant("benchmarks.decisions.ours"),
    "promotion": Contestant("benchmarks.decisions.ours"),
    "asha": Contestant("benchmarks.decisions.ours"),
    # Peers, from cheap to dear.
    "random": _peer("random_search"),
    "ultralytics-ga (re-implementation)": _peer("ultralytics_ga"),
    "syne-tune-0.13-asha": _peer("syne_tune_013", "syne-tune-0.13"),
    "syne-tune-0.13-asha-promotion": _peer("syne_tune_013", "syne-tune-0.13"),
    "syne-tune-0.16-asha": _peer("syne_tune_016", "syne-tune-0.16"),
    "dehb": _peer("dehb_brackets", "dehb"),
    "optuna-tpe": _peer("optuna_tpe"),
    "optuna-tpe-hyperband": _peer("optuna_tpe"),
    "optuna-tpe-median": _peer("optuna_tpe"),
    "optuna-tpe-sha": _peer("optuna_tpe"),
    "ray-asha-10-optuna-tpe": _peer("ray_asha"),
    "ray-asha-1-optuna-tpe": _peer("ray_asha"),
    "smac3": _peer("smac3", "smac"),
    "syne-tune-0.16-bohb": _peer("syne_tune_016", "syne-tune-0.16"),
    "syne-tune-0.13-mobster": _peer("syne_tune_013", "syne-tune-0.13"),
    "syne-tune-0.13-hyper-tune": _peer("syne_tune_013", "syne-tune-0.13"),
    "syne-tune-0.13-dyhpo": _peer("syne_tune_013", "syne-tune-0.13"),
}


def factory(name: str) -> Factory:
    """What makes a contestant.

    Raises:
        ImportError: this is not its environment.
    """
    made: Factory = import_module(CONTESTANTS[name].module).METHODS[name]
    return made
