"""Make decisions from the history alone, without a database, files or Ray."""

import pkgutil

from tests.support.fresh_process import loaded_below, modules_loaded_by
from tuner import decisions

MODULES = [module.name for module in pkgutil.walk_packages(decisions.__path__, "tuner.decisions.")]
IMPURE = {"optuna", "pyarrow", "ray", "ruamel", "sqlalchemy", "tuner.diagnosis", "tuner.study"}


def test_decisions_import_no_database_no_ray_and_no_file_reader():
    loaded = modules_loaded_by(f"import {', '.join(MODULES)}")
    assert set(MODULES) <= loaded
    assert loaded_below(IMPURE, loaded) == set()
