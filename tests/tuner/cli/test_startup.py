"""Check what a command imports: help appears at once, even if a search needs slow packages."""

from pathlib import Path

import pytest

from tests.support.fresh_process import loaded_below, modules_loaded_by

SLOW = {
    "alembic",
    "altair",
    "jinja2",
    "numpy",
    "optuna",
    "psutil",
    "pyarrow",
    "ray",
    "ruamel",
    "scipy",
    "sqlalchemy",
    "vl_convert",
}


def loaded_by(*arguments: str) -> set[str]:
    return modules_loaded_by(f"from tuner.cli.main import main; main({list(arguments)})")


@pytest.mark.parametrize("verb", ["", "run", "status", "report", "train", "export", "data check", "db backup"])
def test_help_imports_nothing_slow(verb: str) -> None:
    loaded = loaded_by(*verb.split(), "--help")

    assert "tuner.cli.run" in loaded, "all verbs are known"
    assert loaded_below(SLOW, loaded) == set()


def test_the_list_of_an_empty_home_opens_no_database(tmp_path: Path) -> None:
    loaded = loaded_by("status", "--home", str(tmp_path))

    assert loaded_below(SLOW, loaded) == set()


def test_a_diagnosis_does_not_import_optuna() -> None:
    loaded = loaded_by("diagnose", str(Path(__file__).parents[1] / "diagnosis" / "curves" / "healthy"))

    assert "tuner.diagnosis" in loaded
    assert loaded_below({"optuna", "pyarrow", "ray", "scipy", "sqlalchemy"}, loaded) == set()


def test_looking_for_a_password_in_the_arguments_does_not_import_optuna() -> None:
    program = "from tuner.cli.arguments import without_secrets; " + (
        "assert without_secrets(['status', '--storage', 'postgresql://ann:secret@host/studies']) == ('status',)"
    )

    assert loaded_below({"alembic", "numpy", "optuna"}, modules_loaded_by(program)) == set()
