"""Choose the trackers of a run, and check that their packages are installed."""

import importlib.util
from collections.abc import Mapping, Sequence

from tuner.exceptions import UsageError
from tuner.space import TRACKERS, tracker_problem

NONE = "none"
"""Name that stands for no tracker, to override a space."""

_PACKAGES: Mapping[str, tuple[str, str]] = {
    "tensorboard": ("tensorboardX", "tensorboardX"),
    "mlflow": ("mlflow", "'mamba-yolo-tuner[mlflow]'"),
    "wandb": ("wandb", "'mamba-yolo-tuner[wandb]'"),
}
"""Module of each tracker, and what pip installs for it."""


def chosen_trackers(given: Sequence[str], of_space: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the trackers of the command line or, if it names none, those of the space.

    Raises:
        UsageError: A name is unknown, `none` is combined with others, or a package is not installed.
    """
    for name in given:
        problem = tracker_problem(name, (*TRACKERS, NONE))
        if problem:
            raise UsageError(f"--log {problem}")
    if NONE in given and set(given) != {NONE}:
        raise UsageError(f"--log {NONE} excludes other trackers, but got {', '.join(given)}; omit one of them.")
    chosen = tuple(dict.fromkeys(name for name in given or of_space if name != NONE))
    for name in chosen:
        _require(name)
    return chosen


def _require(name: str) -> None:
    module, package = _PACKAGES[name]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:  # without origin: a mere folder of this name
        raise UsageError(f"--log {name} needs the package {module}, which is not installed: pip install {package}")
