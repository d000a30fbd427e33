"""Decide which configuration to train next and which trial continues; never train.

The names in `__all__` are the public interface (docs/python-api.md). Each is imported when it is first used, so
importing this package costs nothing. Everything else may change from one release to the next.
"""

import importlib
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.diagnosis import diagnose, read_run
    from tuner.exceptions import TunerError
    from tuner.python_api.commands import check_data, estimate, open_study, promote, run, studies, train
    from tuner.python_api.study import Study
    from tuner.space import Space, find_space, load_space
    from tuner.study import StoredStudy
    from tuner.training.export import params_yaml
    from tuner.training.final_run import choose_winner

__version__ = "0.1.0"

__all__ = [
    "Space",
    "StoredStudy",
    "Study",
    "TunerError",
    "__version__",
    "check_data",
    "choose_winner",
    "diagnose",
    "estimate",
    "find_space",
    "load_space",
    "open_study",
    "params_yaml",
    "promote",
    "read_run",
    "run",
    "studies",
    "train",
]

_MODULES = {
    "Space": "tuner.space",
    "StoredStudy": "tuner.study",
    "Study": "tuner.python_api.study",
    "TunerError": "tuner.exceptions",
    "check_data": "tuner.python_api.commands",
    "choose_winner": "tuner.training.final_run",
    "diagnose": "tuner.diagnosis",
    "estimate": "tuner.python_api.commands",
    "find_space": "tuner.space",
    "load_space": "tuner.space",
    "open_study": "tuner.python_api.commands",
    "params_yaml": "tuner.training.export",
    "promote": "tuner.python_api.commands",
    "read_run": "tuner.diagnosis",
    "run": "tuner.python_api.commands",
    "studies": "tuner.python_api.commands",
    "train": "tuner.python_api.commands",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        # In a notebook, the progress bars of Optuna ask for a package that draws them. We show none.
        warnings.filterwarnings("ignore", message="IProgress not found")
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
