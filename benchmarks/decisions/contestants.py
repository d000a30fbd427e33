"""Contestants: the searches by name, and the environment in which each can be imported."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from tuner.simulation.replay import Pool, Tuner
from tuner.simulation.tables import CurveTable

Factory = Callable[[CurveTable, Pool, int, int], Tuner]
"""Function of (table, its free rows, seed, workers) that returns a search that has not started."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Origin of a search."""

    module: str
    """Module whose `METHODS` contains the factory, by the contestant's name."""
    environment: str | None = None
    """One of `benchmarks.decisions.environments`; None for the project's own environment."""


def _peer(module: str, environment: str | None = None) -> Contestant:
    return Contestant(f"benchmarks.decisions.peers.{module}", environment)


CONTESTANTS: dict[str, Contestant] = {
    # Ours.
    "auto": Contestant("benchmarks.decisions.ours"),
    "asha-promotion": Contestant("benchmarks.decisions.ours"),
    "asha-stopping": Contestant("benchmarks.decisions.ours"),
    # Peers, from cheap to expensive.
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
    "neps": _peer("neps_bands", "neps"),
    "smac3": _peer("smac3", "smac"),
    "syne-tune-0.16-bohb": _peer("syne_tune_016", "syne-tune-0.16"),
    "syne-tune-0.13-mobster": _peer("syne_tune_013", "syne-tune-0.13"),
    "syne-tune-0.13-hyper-tune": _peer("syne_tune_013", "syne-tune-0.13"),
    "syne-tune-0.13-dyhpo": _peer("syne_tune_013", "syne-tune-0.13"),
}


def factory(name: str) -> Factory:
    """Return the factory of a contestant.

    Raises:
        ImportError: This is not the contestant's environment.
    """
    made: Factory = import_module(CONTESTANTS[name].module).METHODS[name]
    return made
