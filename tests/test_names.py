"""Names of the code: a module can be imported by its name, and an error is named Error."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import trainer
import tuner
from trainer.exceptions import TrainerError
from tuner.exceptions import TunerError

PACKAGES = pytest.mark.parametrize("package", [tuner, trainer], ids=lambda package: package.__name__)


def modules_below(package: ModuleType) -> Iterator[ModuleType]:
    """Import the package's modules, except the programs."""
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if not found.name.endswith(".__main__"):
            module = importlib.import_module(found.name)
            yield module
            if found.ispkg:
                yield from modules_below(module)


@PACKAGES
def test_no_package_exports_a_name_that_hides_one_of_its_modules(package):
    for module in modules_below(package):
        parent, _, name = module.__name__.rpartition(".")
        assert getattr(importlib.import_module(parent), name) is module, f"{module.__name__} cannot be reached"


@pytest.mark.parametrize(("package", "root"), [(tuner, TunerError), (trainer, TrainerError)])
def test_every_error_is_named_error_and_derives_from_that_of_its_package(package, root):
    kinds = {kind for module in modules_below(package) for kind in vars(module).values() if isinstance(kind, type)}
    errors = {kind for kind in kinds if issubclass(kind, Exception) and kind.__module__.startswith(package.__name__)}
    assert root in errors
    assert {kind for kind in errors if not issubclass(kind, root)} == set()
    assert {kind for kind in errors if not kind.__name__.endswith("Error")} == set()
