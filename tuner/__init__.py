"""Decide which configuration to train next and which trial continues; never train.

The names in `__all__` are the public interface (docs/api.md). Each is imported when it is first used, so importing this
package costs nothing. Everything else may change from one release to the next.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.diagnosis import diagnose, read_run
    from tuner.exceptions import TunerError
    from tuner.space import Space, find_space, load_space
    from tuner.study import StoredStudy
    from tuner.training.export import params_yaml
    from tuner.training.final_run import choose_winner

__version__ = "0.1.0"

__all__ = [
    "Space",
    "StoredStudy",
    "TunerError",
    "__version__",
    "choose_winner",
    "diagnose",
    "find_space",
    "load_space",
    "params_yaml",
    "read_run",
]

_MODULES = {
    "Space": "tuner.space",
    "StoredStudy": "tuner.study",
    "TunerError": "tuner.exceptions",
    "choose_winner": "tuner.training.final_run",
    "diagnose": "tuner.diagnosis",
    "find_space": "tuner.space",
    "load_space": "tuner.space",
    "params_yaml": "tuner.training.export",
    "read_run": "tuner.diagnosis",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
