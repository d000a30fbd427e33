"""Completion in a shell: the values that exist, without a database being opened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fresh_process import loaded_below, modules_loaded_by
from tuner.contract import METRICS
from tuner.space import SAMPLERS, SHIPPED_SPACES, STRATEGIES


def completed(folder: Path, line: str, **environment: str) -> list[str]:
    """Ask the command as bash does."""
    words = line.split(" ")
    asked = {"_TUNE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), **environment}
    command = "import sys; sys.argv[0] = 'tune'; from tuner.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=folder, env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for home, name in (("studies", "first"), ("studies", "further"), ("studies", "other"), ("elsewhere", "far")):
        (tmp_path / home / name).mkdir(parents=True)
        (tmp_path / home / name / "study.db").touch()
    (tmp_path / "studies" / "folder-only").mkdir()
    return tmp_path


@pytest.mark.parametrize("verb", ["status", "compare", "promote", "export", "dashboard"])
def test_names_of_studies_are_those_of_the_home(folder, verb):
    assert completed(folder, f"tune {verb} f") == ["first", "further"]


def test_the_home_may_be_named(folder):
    assert completed(folder, "tune status --home elsewhere f") == ["far"]
    assert completed(folder, "tune status f", TUNE_HOME="elsewhere") == ["far"]


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--space", {path.stem for path in SHIPPED_SPACES.glob("*.yaml")}),
        ("--strategy", set(STRATEGIES)),
        ("--sampler", set(SAMPLERS)),
        ("--metric", set(METRICS)),
        ("--warm-start", {"first", "further", "other"}),
    ],
)
def test_values_of_options_are_completed(folder, option, values):
    assert set(completed(folder, f"tune run {option} ")) == values


def test_completion_loads_nothing_slow():
    loaded = modules_loaded_by("from tuner.cli.completion import spaces; spaces('q')")
    assert loaded_below({"optuna", "pyarrow", "ray", "scipy", "sqlalchemy"}, loaded) == set()
