"""Complete commands in a shell with existing values, without opening a database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.support.fresh_process import loaded_below, modules_loaded_by
from tuner.cli.main import app
from tuner.contract import METRICS
from tuner.report.trials import SORT_KEYS
from tuner.space import SAMPLERS, SHIPPED_SPACES, STRATEGIES


def asked(line: str) -> dict[str, str]:
    """Return the environment in which bash asks for the last word of a line."""
    return {"_TUNE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for home, name in (("studies", "first"), ("studies", "further"), ("studies", "other"), ("elsewhere", "far")):
        (tmp_path / home / name).mkdir(parents=True)
        (tmp_path / home / name / "study.db").touch()
    (tmp_path / "studies" / "folder-only").mkdir()
    return tmp_path


@pytest.fixture
def completed(folder, monkeypatch, capsys):
    """Ask the command in this process."""

    def ask(line: str, **environment: str) -> list[str]:
        monkeypatch.chdir(folder)
        for name, value in {**asked(line), **environment}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            typer.main.get_command(app).main(args=[], prog_name="tune")
        assert end.value.code == 0
        return capsys.readouterr().out.split()

    return ask


def test_bash_gets_the_names_from_the_command(folder):
    command = "import sys; sys.argv[0] = 'tune'; from tuner.cli.main import main; main()"
    environment = {**os.environ, **asked("tune status f")}
    done = subprocess.run([sys.executable, "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["first", "further"]


@pytest.mark.parametrize("verb", ["status", "compare", "promote", "export", "dashboard", "report", "db upgrade"])
def test_names_of_studies_are_those_of_the_home(completed, verb):
    assert completed(f"tune {verb} f") == ["first", "further"]


def test_the_home_may_be_named(completed):
    assert completed("tune status --home elsewhere f") == ["far"]
    assert completed("tune status f", TUNE_HOME="elsewhere") == ["far"]


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
def test_values_of_options_are_completed(completed, option, values):
    assert set(completed(f"tune run {option} ")) == values


def test_sort_orders_of_trials_are_those_that_status_knows(completed):
    assert set(completed("tune status s --sort ")) == set(SORT_KEYS)


def test_completion_imports_nothing_slow():
    loaded = modules_loaded_by("from tuner.cli.completion import spaces; spaces('q')")
    assert loaded_below({"optuna", "pyarrow", "ray", "scipy", "sqlalchemy"}, loaded) == set()
