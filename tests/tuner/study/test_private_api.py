"""Keep the use of Optuna's private interface in few places, and allow only releases that have it."""

import ast
import re
import tomllib
from importlib.metadata import version
from inspect import signature
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from tuner.storage.bulk_reading import BulkReadingStorage

ROOT = Path(__file__).parents[3]
IMPORTERS = {
    "tuner/study/_changes.py",
    "tuner/storage/bulk_reading.py",
    "tuner/storage/maintenance.py",
    # A storage returns a FrozenStudy, which only a private module defines.
    "tuner/dashboard/view.py",
    "tuner/dashboard/view_storage.py",
}


def imported_from_optuna(file):
    """Return the modules and names that a file imports from Optuna, dotted."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "optuna":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "optuna")


def test_private_modules_are_imported_in_these_places_only():
    importers = {
        str(file.relative_to(ROOT))
        for file in (ROOT / "tuner").rglob("*.py")
        if any(part.startswith("_") for name in imported_from_optuna(file) for part in name.split("."))
    }
    assert importers == IMPORTERS


def test_pyproject_allows_one_minor_release_of_optuna():
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (bounds,) = (line.removeprefix("optuna") for line in requirements if re.match(r"optuna[<>=]", line))
    low, high = re.fullmatch(r">=(\d+\.\d+),<(\d+\.\d+)", bounds).groups()
    assert int(high.split(".")[1]) == int(low.split(".")[1]) + 1
    assert version("optuna").startswith(f"{low}.")


def test_the_installed_release_has_the_parts_that_we_use():
    from optuna.storages._rdb.models import StudyModel
    from optuna.storages._rdb.storage import _create_scoped_session
    from optuna.study._frozen import FrozenStudy

    assert callable(StudyModel.find_or_raise_by_id)
    assert callable(_create_scoped_session)
    assert callable(RDBStorage._get_prepared_new_trial)
    assert list(signature(RDBStorage._get_trials).parameters) == list(
        signature(BulkReadingStorage._get_trials).parameters
    )
    assert FrozenStudy.__module__ == "optuna.study._frozen"
    study = optuna.create_study()
    assert (study._study_id, study.ask()._trial_id) == (0, 0)
